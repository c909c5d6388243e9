"""Tells whoever waits what is being done and how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .config import ClusterError
from .together import Halted

Say = Callable[[str], None]
"""Takes one line of progress."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def phase(what: str, tell: Say = say) -> Iterator[None]:
    """Announces a phase and says at its end how many seconds it took."""
    started = time.monotonic()
    tell(f"cluster: {what} …")
    try:
        yield
    except BaseException as error:
        how = "stopped" if isinstance(error, Halted) else "failed"
        tell(f"cluster: {what}: {how} after {time.monotonic() - started:.1f} s")
        if isinstance(error, ClusterError) and error.part is None:
            error.part = what
        raise
    tell(f"cluster: {what}: {time.monotonic() - started:.1f} s")
