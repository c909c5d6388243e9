"""How deep and how many-valued a job may be, so that whoever reads it need not fear for its stack or its time.

A schema cannot say it: fields that take any JSON have no shape, and the API server takes 10,000 levels of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

DEPTH_MAX: Final = 100
"""Levels of objects and lists in a job, the job itself among them."""
VALUES_MAX: Final = 20_000
"""Entries of objects and lists in all."""

_SHOWN: Final = 5
_Trail = tuple[Any, ...]  # (trail of the parent, key): a path is only put together for the one that is told


def excess(value: Any) -> tuple[str, str] | None:
    """Path of the first part that is too deep or too much, and the rule that it breaks; None where all is within.

    Neither recursion nor time depend on the size: a value is looked at until it is too much.
    """
    count = 0
    pending: list[tuple[Any, int, _Trail]] = [(value, 1, ())]
    while pending:
        found, depth, trail = pending.pop()
        pairs = _entries(found)
        if pairs is None:
            continue
        if depth > DEPTH_MAX:
            return _path(trail), f"is nested more than {DEPTH_MAX} levels deep"
        for key, item in pairs:
            count += 1
            if count > VALUES_MAX:
                return _path(trail), f"is where the job has more than {VALUES_MAX} values in all"
            pending.append((item, depth + 1, (trail, key)))
    return None


def _entries(value: Any) -> Iterable[tuple[Any, Any]] | None:
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list | tuple) else None


def _path(trail: _Trail) -> str:
    keys: list[Any] = []
    while trail:
        trail, key = trail
        keys.append(key)
    shown = list(reversed(keys))[:_SHOWN]
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{str(key)[:64]}" for key in shown)
    return (text.lstrip(".") or "job") + ("…" if len(keys) > _SHOWN else "")
