"""Members of a document, believed only as far as they make sense: what is sealed may still be nonsense.

A seal says that these are the bytes that were written, not that whoever wrote them was right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from thunderhead.store.objects import Corrupt

# The largest number of bytes, steps or ranks that is taken for one.
HUGE: Final = 2**53
# Years 1 to 9999, in Unix seconds: what a date can be made of.
_MOMENTS: Final = (-62135596800.0, 253402300799.0)


def member(document: Mapping[str, Any], name: str) -> object:
    """The value of a member that must be there."""
    if name not in document:
        raise Corrupt(f"the member {name} is missing")
    return document[name]


def whole(value: object, name: str, *, low: int = 0, high: int = HUGE) -> int:
    """A whole number within bounds."""
    if type(value) is not int or not low <= value <= high:
        raise Corrupt(f"{name} is malformed: {_shown(value)}, expected a whole number of {low} to {high}")
    return value


def moment(value: object, name: str) -> float:
    """A moment in Unix seconds."""
    if (
        not isinstance(value, int | float)
        or type(value) not in (int, float)
        or not math.isfinite(value)
        or not _MOMENTS[0] <= value <= _MOMENTS[1]
    ):
        raise Corrupt(f"{name} is malformed: {_shown(value)}, expected a moment in Unix seconds")
    return float(value)


def as_moment(unix_s: float) -> float:
    """What a clock says, as something that can be written and read back: it may be set to anything."""
    return min(max(unix_s, _MOMENTS[0]), _MOMENTS[1]) if math.isfinite(unix_s) else 0.0


def text(value: object, name: str) -> str:
    """A string."""
    if type(value) is not str:
        raise Corrupt(f"{name} is malformed: {_shown(value)}, expected a string")
    return value


def truth(value: object, name: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise Corrupt(f"{name} is malformed: {_shown(value)}, expected true or false")
    return value


def mapping(value: object, name: str) -> Mapping[str, Any]:
    """An object of JSON."""
    if type(value) is not dict:
        raise Corrupt(f"{name} is malformed: {_shown(value)}, expected an object")
    return value


def sequence(value: object, name: str) -> Sequence[Any]:
    """A list."""
    if type(value) is not list:
        raise Corrupt(f"{name} is malformed: {_shown(value)}, expected a list")
    return value


def checksum(value: object, name: str) -> int:
    """64 bits as 16 hexadecimal digits."""
    digits = text(value, name)
    if len(digits) != 16 or not set(digits) <= set("0123456789abcdef"):
        raise Corrupt(f"{name} is malformed: {_shown(value)}, expected 16 hexadecimal digits")
    return int(digits, 16)


def _shown(value: object) -> str:
    """Deep or long values are not written out: that may be what is wrong with them."""
    return repr(value)[:40] if type(value) in (int, float, str, bool, type(None)) else type(value).__name__
