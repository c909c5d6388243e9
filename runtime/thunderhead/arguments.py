"""Reading arguments: what each spelling means, and what is refused.

All pure: a value in, its meaning out, or an error that names the argument, the value, the rule and the remedy.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, SupportsFloat, SupportsIndex, TypeVar, overload

from thunderhead.exceptions import MisconfigurationException, did_you_mean

Value = TypeVar("Value")

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_COUNT = re.compile(r"\s*(\d+)\s*batch(?:es)?\s*")
_CLOCK = re.compile(r"(\d+):(\d+):(\d+):(\d+)")


def batch_limit(name: str, value: object) -> float | int:
    """How many batches: an integer counts them, a float from 0 to 1 is a share of them.

    ``"100%"`` and ``"1 batch"`` say the same without depending on how a number is written: 1 is one batch, 1.0 is all.

    Raises:
        MisconfigurationException: neither of these, or out of range.
    """
    if value is None:
        return 1.0
    parsed = value
    if isinstance(value, str):
        if match := _PERCENT.fullmatch(value):
            parsed = float(match[1]) / 100
        elif match := _COUNT.fullmatch(value):
            parsed = int(match[1])
        else:
            raise MisconfigurationException(
                f"{name}={value!r}: write a share such as '25%' or a count such as '10 batches'"
            )
    if isinstance(parsed, bool) or not isinstance(parsed, (int, float)):
        raise MisconfigurationException(f"{name}={value!r} is neither a number of batches nor a share of them")
    if parsed < 0 or (isinstance(parsed, float) and parsed > 1):
        raise MisconfigurationException(
            f"{name}={value!r} is out of range: a float is a share from 0.0 to 1.0, an integer a number of "
            "batches from 0"
        )
    return parsed


def duration(name: str, value: object) -> timedelta | None:
    """A length of time: a timedelta, ``"DD:HH:MM:SS"``, or a dict of timedelta's arguments.

    Raises:
        MisconfigurationException: none of these, or negative.
    """
    if isinstance(value, timedelta) and value < timedelta(0):
        raise MisconfigurationException(f"{name}={value!r} must not be negative")
    if value is None or isinstance(value, timedelta):
        return value
    if isinstance(value, Mapping):
        try:
            return duration(name, timedelta(**value))
        except TypeError as error:
            raise MisconfigurationException(f"{name}={value!r}: use days, hours, minutes, seconds") from error
    if isinstance(value, str) and (match := _CLOCK.fullmatch(value.strip())):
        days, hours, minutes, seconds = map(int, match.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    raise MisconfigurationException(
        f"{name}={value!r} is no duration; write 'DD:HH:MM:SS', a timedelta or a dict of its arguments"
    )


def validation_interval(value: object, every_n_epochs: int | None) -> tuple[float | int, float | None]:
    """``(val_check_interval, seconds)``; seconds where validation goes by the clock.

    Raises:
        MisconfigurationException: out of range, or a share of an epoch although epochs are not counted.
    """
    if value is None:
        value = 1.0
    if isinstance(value, str) and (_PERCENT.fullmatch(value) or _COUNT.fullmatch(value)):
        value = batch_limit("val_check_interval", value)
    if isinstance(value, (str, timedelta, Mapping)):
        span = duration("val_check_interval", value)
        assert span is not None
        return 1.0, span.total_seconds()
    interval = batch_limit("val_check_interval", value)
    if interval == 0 and isinstance(interval, int):
        raise MisconfigurationException(
            f"val_check_interval={value!r} is no interval; give a number of batches from 1, or limit_val_batches=0 "
            "for no validation"
        )
    if every_n_epochs is None and isinstance(interval, float):
        raise MisconfigurationException(
            f"val_check_interval={value!r} is a share of an epoch, but check_val_every_n_epoch=None counts "
            "batches over "
            "epochs; give a number of batches or a duration"
        )
    return interval, None


@overload
def whole_number(name: str, value: object, *, least: int, optional: Literal[False] = False) -> int: ...
@overload
def whole_number(name: str, value: object, *, least: int, optional: bool) -> int | None: ...
def whole_number(name: str, value: object, *, least: int, optional: bool = False) -> int | None:
    """An integer of at least ``least`` (or None).

    Raises:
        MisconfigurationException: anything else.
    """
    if value is None and optional:
        return None
    number = _index(value)
    if number is None or number < least:
        raise MisconfigurationException(f"{name}={value!r} must be an integer of at least {least}")
    return number


def _index(value: object) -> int | None:
    """The integer that ``value`` is, as NumPy's, a tensor's and 1e3 are too; Python's, which a file can hold."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return operator.index(value) if isinstance(value, SupportsIndex) else None
    except TypeError:  # a tensor has the method, and only one of integers a meaning for it
        return None


@overload
def real_number(name: str, value: Value, *, least: float = -math.inf, optional: Literal[False] = False) -> Value: ...
@overload
def real_number(name: str, value: Value | None, *, least: float = -math.inf, optional: bool) -> Value | None: ...
def real_number(name: str, value: Value | None, *, least: float = -math.inf, optional: bool = False) -> Value | None:
    """A number of at least ``least`` (or None), which may be infinite but not NaN.

    Raises:
        MisconfigurationException: anything else.
    """
    if value is None and optional:
        return None
    if isinstance(value, bool) or not _is_at_least(value, least):
        rule = "a number" if math.isinf(least) else f"a number of at least {least:g}"
        raise MisconfigurationException(f"{name}={value!r} must be {rule}{' or None' if optional else ''}")
    return value


def _is_at_least(value: object, least: float) -> bool:
    try:
        return isinstance(value, SupportsFloat) and float(value) >= least
    except (TypeError, ValueError, RuntimeError):  # arrays and tensors of several numbers
        return False


@overload
def switch(name: str, value: object, *, optional: Literal[False] = False) -> bool: ...
@overload
def switch(name: str, value: object, *, optional: bool) -> bool | None: ...
def switch(name: str, value: object, *, optional: bool = False) -> bool | None:
    """True or False (or None); 1 and 0, as the environment may have them, mean the same, and so do NumPy's.

    Raises:
        MisconfigurationException: anything else.
    """
    if value is None and optional:
        return None
    # NumPy's bool is no int.
    if not (isinstance(value, int) or type(value).__name__ in ("bool", "bool_")) or value not in (0, 1):
        raise MisconfigurationException(f"{name}={value!r} must be True or False{' or None' if optional else ''}")
    return bool(value)


def directory(name: str, value: object) -> str:
    """A directory or URL as text.

    Raises:
        TypeError: neither text nor a path.
    """
    return path(name, value, "a directory or URL")


def path(name: str, value: object, kind: str) -> str:
    """A path as text; ``kind`` is what it must be.

    Raises:
        TypeError: neither text nor a path.
    """
    found = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(found, str):
        raise TypeError(f"{name}={value!r} must be {kind}, as str or pathlib.Path")
    return found


@overload
def text(name: str, value: object, *, optional: Literal[False] = False) -> str: ...
@overload
def text(name: str, value: object, *, optional: bool) -> str | None: ...
def text(name: str, value: object, *, optional: bool = False) -> str | None:
    """A str (or None).

    Raises:
        MisconfigurationException: anything else.
    """
    if value is None and optional:
        return None
    if not isinstance(value, str):
        raise MisconfigurationException(f"{name}={value!r} must be text{' or None' if optional else ''}")
    return value


def one_of(name: str, value: Value, known: Sequence[object]) -> Value:
    """One of the known values.

    Raises:
        MisconfigurationException: another one.
    """
    if value not in known:
        names = [str(choice) for choice in known]
        raise MisconfigurationException(
            f"{name}={value!r} does not exist.{did_you_mean(str(value), names)} There are {', '.join(names)}"
        )
    return value


def gradient_clipping(value: object, algorithm: object) -> tuple[float | None, str | None]:
    """The clip value (None for off) and algorithm.

    Raises:
        TypeError: the value is no number.
        MisconfigurationException: there is no such algorithm.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise TypeError(f"gradient_clip_val={value!r} must be a number; 0 or None switches clipping off")
    if algorithm is not None:
        one_of("gradient_clip_algorithm", str(algorithm).lower(), ("norm", "value"))
    return value, None if algorithm is None else str(algorithm).lower()
