"""Directories for the time of one step of a build."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .config import cache_root


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """An empty directory, for one user of each purpose at a time; what a killed one left goes when the next begins."""
    directory = cache_root() / "scratch" / purpose
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
