"""Parts of a bring-up side by side: the first that fails ends the others, which could only be waited for in vain."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from .config import ClusterError

LOOK_S: Final = 0.2
"""Seconds between looks at whether another part has failed."""

First, Second = TypeVar("First"), TypeVar("Second")
_halt: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("halt", default=None)


class Halted(ClusterError):
    """Nothing more is done here: another part has failed."""


def side_by_side(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """Runs both at once and returns what they return; what fails first is raised as soon as the other has stopped."""
    halt = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(_context(halt).run, first), pool.submit(_context(halt).run, second)
        futures: tuple[Future[First], Future[Second]] = (one, two)
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failed = next((future for future in futures if future in done and future.exception() is not None), None)
        if failed is not None:
            halt.set()
            failed.result()
        return one.result(), two.result()


def is_halted() -> bool:
    """Whether this is a part beside which another has failed."""
    halt = _halt.get()
    return halt is not None and halt.is_set()


def go_on() -> None:
    """Raises Halted where another part has failed."""
    if is_halted():
        raise Halted("stopped, since another part has failed")


def _context(halt: threading.Event) -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(_halt.set, halt)
    return context
