"""What an image is called follows from what is in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.cluster import images
from e2e.cluster.images import CONTEXT, images_of, staged_context

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUNDERHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "WHEELS", tmp_path / "none")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small one with everything that the Dockerfile reads."""
    home = tmp_path / "repository"
    for name in CONTEXT:
        if (ROOT / name).is_dir():
            (home / name / "package").mkdir(parents=True)
            (home / name / "package" / "module.py").write_text("x = 1\n")
        else:
            home.mkdir(exist_ok=True)
            (home / name).write_text(name)
    return home


def tag(repository: Path, base: str = "base") -> str:
    with staged_context(repository) as context:
        return images_of(context, base).runtime.partition(":")[2]


def test_times_and_caches_say_nothing(repository: Path) -> None:
    before = tag(repository)
    module = repository / "runtime" / "package" / "module.py"
    os.utime(module, (1, 1))
    (module.parent / "__pycache__").mkdir()
    (module.parent / "__pycache__" / "module.pyc").write_bytes(b"compiled")
    (repository / "notes.txt").write_text("not read by the Dockerfile")
    assert tag(repository) == before


def test_contents_names_and_base_say_all(repository: Path) -> None:
    tags = [tag(repository), tag(repository, base="another")]
    module = repository / "runtime" / "package" / "module.py"
    module.write_text("x = 2\n")
    tags.append(tag(repository))
    module.rename(module.with_name("renamed.py"))
    tags.append(tag(repository))
    assert len(set(tags)) == len(tags)


def test_the_build_sees_one_time(repository: Path) -> None:
    with staged_context(repository) as context:
        times = {path.stat().st_mtime for path in context.rglob("*")}
    assert len(times) == 1


def test_the_dockerfile_reads_what_is_staged() -> None:
    """Every local source of a COPY is staged, and let through to docker."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for source in copied:
        top = source.removeprefix("./").split("/")[0]
        assert top in CONTEXT, source
        assert f"!{top}" in ignored, source
