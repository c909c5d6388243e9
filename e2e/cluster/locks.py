"""One at a time: locks that the kernel gives back when their holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .config import ClusterError, cache_root


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Waits for the machine-wide lock `name` and holds it; the same process must not take it twice."""
    with _open(name) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def claimed(name: str, purpose: str) -> Iterator[None]:
    """Holds the lock `name` or raises ClusterError at once, saying who holds it."""
    with _open(name) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ClusterError(
                f"cannot {purpose}: in use by {file.read().strip() or 'another process'}. Wait for it, or choose "
                "another cluster with THUNDERHEAD_CLUSTER=name"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} in {Path.cwd()}\n")
        file.flush()
        yield


def _open(name: str) -> IO[str]:
    path = cache_root() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
