"""Where two records differ."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from bench.parity.record import Record

# A sum over an epoch in 32 bits and one in 64 differ by this much; losses and weights are compared bit by bit.
ROUNDING = 3e-6
EXACT = ("batches", "losses", "weights", "checkpoints")


@dataclass(frozen=True)
class Difference:
    """One place where the sides differ.

    Attributes:
        path: where, such as ``metrics/3/callback_metrics/loss``.
        ours: what Thunderhead has there.
        theirs: what Lightning has there.
        rank: which rank's records.
    """

    path: str
    ours: Any
    theirs: Any
    rank: int = 0


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


def differences(ours: Record, theirs: Record) -> tuple[list[Difference], float]:
    """All of them, and the largest relative rounding error among values that count as the same."""
    found: list[Difference] = []
    rounding = [0.0]
    for each in fields(Record):
        one, other = getattr(ours, each.name), getattr(theirs, each.name)
        if each.name in ("hooks", "files"):
            found += _of_sequences(each.name, one, other)
        elif each.name == "error":
            kinds = [text.partition(":")[0] for text in (one, other)]
            found += [Difference("error", one, other)] if kinds[0] != kinds[1] else []
        else:
            found += _walk(each.name, one, other, rounding)
    return found, max(rounding)


def _of_sequences(path: str, ours: list[str], theirs: list[str]) -> list[Difference]:
    """Changes between two lists of words; a block of them is one difference."""
    found = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if tag != "equal":
            around = f"after {ours[a - 1] if a else 'the start'}"
            found.append(Difference(f"{path}/{a}", [around, *ours[a:b]], theirs[c:d]))
    return found


def _walk(path: str, ours: Any, theirs: Any, rounding: list[float]) -> Iterator[Difference]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}, key=str):
            if key in ours and key in theirs:
                yield from _walk(f"{path}/{key}", ours[key], theirs[key], rounding)
            else:
                yield Difference(f"{path}/{key}", ours.get(key, ABSENT), theirs.get(key, ABSENT))
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield Difference(f"{path}/length", _ends(ours), _ends(theirs))
        for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            moment = f" {one['at']}" if isinstance(one, dict) and "at" in one else ""
            yield from _walk(f"{path}/{index}{moment}", one, other, rounding)
    elif not _same(path, ours, theirs, rounding):
        yield Difference(path, ours, theirs)


def _ends(values: list[Any]) -> str:
    return f"{len(values)} entries, the last {values[-1] if values else None}"[:300]


def _same(path: str, ours: Any, theirs: Any, rounding: list[float]) -> bool:
    if type(ours) is not type(theirs) or ours == theirs:
        return bool(ours == theirs)
    if not isinstance(ours, float):
        return False
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and math.isnan(theirs)
    # Scores that callbacks keep in a file are metrics, too.
    if path.partition("/")[0] in EXACT and "/callbacks/" not in path:
        return False
    error = abs(ours - theirs) / max(abs(ours), abs(theirs))
    if error < ROUNDING:
        rounding.append(error)
    return error < ROUNDING
