"""Curves of logged values over all attempts of a job, from what rank 0 of each attempt has recorded. Pure.

A record is a line of JSON, written by ``thunderhead_agent.curve_file`` as the trainer sends it to the loggers:

    {"begin": 220}                                                    training goes on at this x
    {"step": 229, "epoch": 9, "values": {"train_loss": 0.25}, "at": 1767225600.5}

**A curve is what an undisturbed run would have drawn.** Where steps were done again, the last attempt's value counts:
an attempt that begins at x takes away what earlier ones recorded after x, and replaces what they recorded at the same
x. A value at x itself stays until it is replaced: a validation records there, and may have been over when the
checkpoint was taken. A record without an epoch has an x of its own (a metric called ``step``, batches of an
evaluation), so nothing of it is taken away; the last value of each x counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""JSON has no such numbers."""

Curve = list[tuple[int, float]]
"""Points in the order of x, each x once."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Training goes on at ``step``, the x of its first record to come."""

    step: int


@dataclass(frozen=True, slots=True)
class Record:
    """What was sent to the loggers at once.

    Attributes:
        step: its x.
        epoch: counted from 0; None where x is not the run's.
        values: by name.
        at: Unix time.
    """

    step: int
    epoch: int | None
    values: Mapping[str, float]
    at: float


def read_records(lines: Iterable[bytes | str]) -> list[Begin | Record]:
    """The records of one attempt. Whatever is none, such as a line that a crash cut short, is passed over."""
    return [record for record in map(_record, lines) if record is not None]


def join(attempts: Mapping[int, Iterable[Begin | Record]]) -> dict[str, Curve]:
    """One curve for each name.

    Args:
        attempts: records by number of the attempt, each in the order in which they were made.
    """
    points: dict[str, dict[int, float]] = {}
    own_x: set[str] = set()
    for attempt in sorted(attempts):
        for record in attempts[attempt]:
            if isinstance(record, Begin):
                points = {n: found if n in own_x else _until(found, record.step) for n, found in points.items()}
                continue
            for name, value in record.values.items():
                points.setdefault(name, {})[record.step] = value
            if record.epoch is None:
                own_x.update(record.values)
    return {name: sorted(found.items()) for name, found in points.items() if found}


def _until(points: Mapping[int, float], last: int) -> dict[int, float]:
    return {x: value for x, value in points.items() if x <= last}


def _record(line: bytes | str) -> Begin | Record | None:
    try:
        found: Any = json.loads(line)
        if "begin" in found:
            return Begin(int(found["begin"]))
        epoch = found.get("epoch")
        values = {str(name): _number(value) for name, value in found["values"].items()}
        return Record(int(found["step"]), None if epoch is None else int(epoch), values, float(found.get("at", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _number(value: object) -> float:
    return WORDS[value] if isinstance(value, str) else float(value)  # type: ignore[arg-type]  # else a TypeError, as meant
