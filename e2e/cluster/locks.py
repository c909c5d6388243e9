"""One at a time: locks that the kernel gives back when their holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .config import ClusterError


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Waits for this machine's lock `name` and holds it; the same process must not take it twice."""
    with _held(name, wait=True):
        yield


@contextmanager
def claimed(name: str, purpose: str) -> Iterator[None]:
    """Holds this machine's lock `name` or raises ClusterError at once, saying who holds it."""
    with _held(name, wait=False) as file:
        if file is None:
            raise ClusterError(
                f"cannot {purpose}: in use by {_holder(name)}. Wait for it, or choose another cluster with "
                "THUNDERHEAD_CLUSTER=name"
            )
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} in {Path.cwd()}\n".encode())
        yield


def _holder(name: str) -> str:
    try:
        return _path(name).read_text().strip() or "another process"
    except FileNotFoundError:  # given back since
        return "a process that has just ended"


@contextmanager
def _held(name: str, *, wait: bool) -> Iterator[int | None]:
    """The open file of a lock that is held, or None where another has it. The file goes when the lock is given back."""
    file = _lock(_path(name), wait=wait)
    if file is None:
        yield None
        return
    try:
        yield file
    finally:
        _path(name).unlink()
        os.close(file)


def _lock(path: Path, *, wait: bool) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(file)
            return None
        # The last holder may have removed the file that was opened; its lock then excludes nobody.
        if _is_at(file, path):
            return file
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _path(name: str) -> Path:
    """Not below the cache, which checkouts may have each their own: a cluster's name means the same to all of them."""
    home = Path("/run/lock") if os.geteuid() == 0 else Path(f"/tmp/thunderhead-{os.geteuid()}")
    return home / f"thunderhead-{name}"
