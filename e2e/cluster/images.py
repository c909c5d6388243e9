"""The project's two images, named by the hash of everything that goes into them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from .api import Images
from .build import digest
from .buildah import Buildah
from .config import REPOSITORY, cache_root
from .locks import locked
from .phases import Say, phase, say
from .rootfs import base_image
from .scratch import scratch

CONTEXT = ("Dockerfile", "pyproject.toml", "README.md", "LICENSE", "requirements", "crds", "operator", "runtime")
"""What the Dockerfile reads; `.dockerignore` says the same to docker."""
WHEELS = REPOSITORY.parent / "shared" / "wheels"
"""Optional: wheels to prefer over the index, such as a CPU build of torch."""
_ONE_DAY = 1_577_836_800
"""2020-01-01, the time of every file in the build context: layers depend on contents, not on when they were cloned."""
_KEPT_IMAGES = 4
_KEPT_STEPS = 100


def storage() -> Buildah:
    return Buildah(cache_root() / "buildah")


def build(tell: Say = say) -> Images:
    """Builds both images with buildah unless its storage has them."""
    tools = storage()
    with locked("images", tell), staged_context() as context:
        base = base_image(tools, tell)
        images = images_of(context, base)
        tools.remove_unfinished()
        missing = {name: target for target, name in asdict(images).items() if not tools.has(name)}
        for name, target in missing.items():
            log = cache_root() / "log" / f"image-{target}.log"
            with phase(f"image {target}", tell):
                tools.build(context, target, name, arguments={"BASE": base}, wheels=wheels(), log=log)
        if missing:
            _forget_old(tools, images)
    return images


def images_of(context: Path, base: str) -> Images:
    """The names that images built of this context have."""
    files = sorted(path for path in context.rglob("*") if path.is_file())
    parts: list[str | bytes] = [base, *(wheel.name for wheel in sorted((wheels() or context).glob("*.whl")))]
    for path in files:
        parts += [str(path.relative_to(context)), path.read_bytes()]
    tag = digest(parts)
    return Images(operator=f"localhost/thunderhead-operator:{tag}", runtime=f"localhost/thunderhead-runtime:{tag}")


@contextmanager
def staged_context(repository: Path = REPOSITORY) -> Iterator[Path]:
    """A copy of what the build reads, taken at one moment, with times that say nothing."""
    with scratch("context") as context:
        for name in CONTEXT:
            source = repository / name
            if source.is_dir():
                shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                shutil.copy(source, context / name)
        for path in (context, *context.rglob("*")):
            os.utime(path, (_ONE_DAY, _ONE_DAY))
        yield context


def wheels() -> Path | None:
    return WHEELS if WHEELS.is_dir() else None


def _forget_old(tools: Buildah, current: Images) -> None:
    """Keeps the images built last, so that going back and forth between two versions stays cheap."""
    for target in current.names():
        repository = target.partition(":")[0]
        old = [name for name in tools.names() if name.startswith(f"{repository}:") and name != target]
        tools.remove(old[_KEPT_IMAGES - 1 :])
    tools.remove_unnamed(above=_KEPT_STEPS)
