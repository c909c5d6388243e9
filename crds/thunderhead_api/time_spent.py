"""Sums over kinds of time, and what of them is goodput.

Goodput is the share of the time wanted to run that was not lost. The definition follows Google's ML goodput (runtime
goodput: what fails, starts, restores and does again is taken off; scheduling is a matter of its own), as in its library
``ml_goodput_measurement``.
"""

from __future__ import annotations

from typing import Final

from thunderhead_api.messages import TimeSpent

KINDS: Final = tuple(TimeSpent.model_fields)
LOST: Final = ("repeated", "checkpoint_stall", "starting", "restoring", "recovering")
"""What goodput lacks."""
WORK: Final = ("counted", "validation")
"""Without any of these, nothing was done."""
NOT_WANTED: Final = ("suspended", "queued")
"""No time in which the job was to run and could."""


def time_spent(**seconds: float) -> TimeSpent:
    """By kind, in tenths of a second; kinds without any stay absent."""
    return TimeSpent(**{kind: round(value, 1) for kind, value in seconds.items() if round(value, 1) > 0})


def seconds_of(time: TimeSpent | None, *kinds: str) -> float:
    """Of these kinds together; of all where none is named."""
    return 0.0 if time is None else sum(getattr(time, kind) or 0.0 for kind in kinds or KINDS)


def added(one: TimeSpent | None, other: TimeSpent | None) -> TimeSpent:
    """Kind by kind."""
    return time_spent(**{kind: seconds_of(one, kind) + seconds_of(other, kind) for kind in KINDS})


def less(one: TimeSpent | None, other: TimeSpent | None) -> TimeSpent:
    """What ``one`` has beyond ``other``, kind by kind, never below zero."""
    return time_spent(**{kind: seconds_of(one, kind) - seconds_of(other, kind) for kind in KINDS})


def within(time: TimeSpent, most: float) -> TimeSpent:
    """``time``, cut in proportion to what it can have been at most: whoever reports it may be wrong."""
    total = seconds_of(time)
    if total <= most:
        return time
    return time_spent(**{kind: seconds_of(time, kind) * max(0.0, most) / total for kind in KINDS})


def wanted(time: TimeSpent) -> float:
    """Seconds in which the job was to run and had its place."""
    return seconds_of(time) - seconds_of(time, *NOT_WANTED)


def goodput_ratio(time: TimeSpent) -> float:
    """1 − (done again + stall + starting + restoring + recovering) ÷ time wanted to run; 0 before anything is done."""
    if not seconds_of(time, *WORK):
        return 0.0
    return max(0.0, min(1.0, 1.0 - seconds_of(time, *LOST) / wanted(time)))
