"""Functions and iterators whose every call is an action of a profiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from thunderhead.profilers.profiler import Profiler

Item = TypeVar("Item")
Function = Callable[..., Any]


def timed(profiler: Profiler | None, action: str, function: Function) -> Function:
    """``function`` itself where nothing is profiled, so that it costs nothing then."""
    if profiler is None:
        return function

    def measured(*args: object, **kwargs: object) -> object:
        with profiler.profile(action):
            return function(*args, **kwargs)

    return measured


def timed_iterator(profiler: Profiler | None, action: str, items: Iterator[Item]) -> Iterator[Item]:
    """``items`` itself where nothing is profiled."""
    return items if profiler is None else _measured(profiler, action, items)


def _measured(profiler: Profiler, action: str, items: Iterator[Item]) -> Iterator[Item]:
    while True:
        with profiler.profile(action):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
