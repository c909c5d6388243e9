"""What a caller allows a store that tries its operations again by itself: a training that stands waits for each try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

# Of one operation of a save that may be skipped: whoever looks beside training tries again anyway.
TRIES_BESIDE_TRAINING: Final = 2


@dataclass(frozen=True, slots=True)
class Limit:
    """How often, and for how long, one operation may be tried.

    Attributes:
        tries: at most so many; ``None``: as many as the store would by itself.
        over_after: whether after a pause of so many seconds it is too late for another try.
    """

    tries: int | None = None
    over_after: Callable[[float], bool] = lambda pause_s: False

    def allows(self, tries: int, pause_s: float) -> bool:
        """Whether another try may follow so many, after a pause."""
        return (self.tries is None or tries < self.tries) and not self.over_after(pause_s)


_current: ContextVar[Limit] = ContextVar("limit", default=Limit())  # noqa: B039 - it is frozen


def current() -> Limit:
    """The limit of the thread; threads that it starts have none until they are given it."""
    return _current.get()


@contextmanager
def limited(limit: Limit) -> Iterator[None]:
    """Operations of this thread within the context are tried no longer than ``limit`` allows."""
    token = _current.set(limit)
    try:
        yield
    finally:
        _current.reset(token)
