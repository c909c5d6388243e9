"""One at a time: locks that the kernel gives back when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .config import ClusterError
from .phases import Say, say
from .together import LOOK_S, go_on

_SHORTEST_S = 0.01


@contextmanager
def locked(name: str, tell: Say = say) -> Iterator[None]:
    """Waits for this machine's lock `name`, saying for whom, and holds it; the same process must not take it twice."""
    with _held(name, tell) as file:
        assert file is not None, "whoever waits gets it"
        _sign(file)
        yield


@contextmanager
def claimed(name: str, purpose: str) -> Iterator[None]:
    """Holds this machine's lock `name` or raises ClusterError at once, saying who holds it."""
    with _held(name, None) as file:
        if file is None:
            raise ClusterError(
                f"cannot {purpose}: in use by {_holder(name)}. Wait for it, or choose another cluster with "
                "THUNDERHEAD_CLUSTER=name"
            )
        _sign(file)
        yield


def _sign(file: int) -> None:
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} in {Path.cwd()}\n".encode())


def _holder(name: str) -> str:
    try:
        return _path(name).read_text().strip() or "another process"
    except FileNotFoundError:  # given back since
        return "a process that has just ended"


@contextmanager
def _held(name: str, tell: Say | None) -> Iterator[int | None]:
    """The open file of a lock that is held, or, unless `tell` hears of the waiting, None where another has it.

    The file goes when the lock is given back.
    """
    file = _lock(_path(name)) if tell is None else _wait_for(name, tell)
    if file is None:
        yield None
        return
    try:
        yield file
    finally:
        _path(name).unlink()
        os.close(file)


def _wait_for(name: str, tell: Say) -> int:
    """Looks again and again rather than sleep until it is free: another part of ours may fail meanwhile."""
    told, since, pause = "", time.monotonic(), _SHORTEST_S
    while (file := _lock(_path(name))) is None:
        go_on()
        holder = _holder(name)
        if holder != told and pause >= LOOK_S:  # what is free again at once is not worth a line
            told = holder
            tell(f"cluster: waiting for {holder}, which holds the lock {_path(name)} …")
        time.sleep(pause)
        pause = min(LOOK_S, 2 * pause)
    if told:
        tell(f"cluster: waited {time.monotonic() - since:.1f} s for the lock {_path(name)}")
    return file


def _lock(path: Path) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
