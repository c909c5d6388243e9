"""Calls that the interpreter makes per step, of Python functions and of C functions, over those of a raw loop.

A count, not a time: it is the same on any machine, but for what a clock decides, which is rarer than a step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from bench.report import Result, row
from bench.sides import LIGHTNING, OURS, fit, has_lightning
from bench.workloads import TINY, Batch, RawLoop, batches

WARM_UP = 100
STEPS = 100


class CallCounter:
    """A sized loader that counts the calls made between its batches ``WARM_UP`` and ``WARM_UP + STEPS``."""

    def __init__(self) -> None:
        self._items = batches(TINY, WARM_UP + STEPS + 1)
        self._calls = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Batch]:
        for index, item in enumerate(self._items):
            if index == WARM_UP:
                sys.setprofile(self._count)
            elif index == WARM_UP + STEPS:
                sys.setprofile(None)
            yield item

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self._calls += 1

    @property
    def per_step(self) -> float:
        """Calls per step."""
        return self._calls / STEPS


def calls_per_step(train: Callable[[CallCounter], None]) -> float:
    """Calls per step of whatever ``train`` does with its batches."""
    counter = CallCounter()
    try:
        train(counter)
    finally:
        sys.setprofile(None)
    return counter.per_step


def added_calls(package: str, *, logged: int, everything: bool) -> float:
    """Calls per step of ``package`` over those of a raw loop with the same batches."""
    raw = calls_per_step(RawLoop(TINY))
    return calls_per_step(partial(fit, package, TINY, logged=logged, everything=everything)) - raw


def run(*, quick: bool) -> list[Result]:
    """Ours and Lightning's; nothing to shorten."""
    del quick
    rows = []
    for package in [OURS, *([LIGHTNING] if has_lightning() else [])]:
        ours = package == OURS
        for what, logged, everything, limit in (
            ("nothing logged", 0, False, 20.0),
            ("everything on, five values", 5, True, 50.0),
        ):
            count = added_calls(package, logged=logged, everything=everything)
            rows.append(row(f"{package}: {what}", [count], at_most=limit if ours else None))
    raw = calls_per_step(RawLoop(TINY))
    return [
        Result(
            name="calls",
            title="Calls per step over a raw loop, Python and C functions",
            how=f"`sys.setprofile` over {STEPS} steps of the tiny MLP; the raw loop itself makes {raw:g} a step.",
            rows=rows,
        )
    ]
