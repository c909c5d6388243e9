"""Tells whoever waits what is being done and how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    except BaseException:
        tell(f"cluster: {what}: failed after {time.monotonic() - started:.1f} s")
        raise
    tell(f"cluster: {what}: {time.monotonic() - started:.1f} s")
