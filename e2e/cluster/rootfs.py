"""The image that ours are built on, where no registry gives one: Debian's smallest system with Python.

It stands in for `python:3.11-slim`, the Dockerfile's default.
"""

from __future__ import annotations

import shutil

from .build import digest
from .buildah import Buildah
from .config import cache_root
from .phases import Say, phase, say
from .scratch import scratch
from .shell import CONTAINED, run, run_logged

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
_DROPPED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
)


def base_image(tools: Buildah, tell: Say = say) -> str:
    """The name of the base image in buildah's storage; made first when it is not there."""
    name = f"localhost/thunderhead-base:{digest([SUITE, *PACKAGES, *_DROPPED])}"
    if not tools.has(name):
        with phase("base image", tell):
            _make(tools, name)
    return name


def _make(tools: Buildah, name: str) -> None:
    with scratch("base") as home:
        root = home / "root"
        run_logged(
            *CONTAINED, "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root, _mirror(),
            log=cache_root() / "log" / "debootstrap.log",
        )  # fmt: skip
        for directory in _DROPPED:
            shutil.rmtree(root / directory)
            (root / directory).mkdir()
        tools.commit_directory(root, name)


def _mirror() -> str:
    """The mirror that this machine's own packages come from."""
    offered = run(
        "apt-get", "indextargets", "--format", "$(REPO_URI)",
        "Created-By: Packages", f"Codename: {SUITE}", "Component: main",
    )  # fmt: skip
    return offered.split()[0]
