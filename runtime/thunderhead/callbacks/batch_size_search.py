"""Which batch size fits: purely, from answers to "does this one?"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from thunderhead.exceptions import MisconfigurationException
from thunderhead.warning import say

MODES: Final = ("power", "binsearch")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for.

    Attributes:
        mode: ``power`` doubles until one does not fit; ``binsearch`` then closes in between.
        first: size to begin with.
        trials: how many to try at most.
        most: size to try at most.
        margin: by which share to stay below what was found, in ``binsearch``.
    """

    mode: str
    first: int
    trials: int
    most: int
    margin: float


def largest(wanted: Wanted, attempt: Callable[[int], float | None]) -> int:
    """The largest size found to fit.

    Args:
        wanted: what is looked for.
        attempt: tries a size; returns the number of samples there are, beyond which nothing changes, or None if it does
            not fit.

    Raises:
        MisconfigurationException: not even one sample fits.
    """
    good, bad, size = 0, 0, min(wanted.first, wanted.most)
    for _ in range(wanted.trials):
        samples = attempt(size)
        if samples is not None:
            good = max(good, size)
        else:
            bad = size
        following = _next(wanted, good, bad, size, samples)
        if following is None:
            break
        say(f"batch size {size} {'fits' if size == good else 'does not fit'}, trying {following}")
        size = following
    if good == 0:
        raise MisconfigurationException(
            f"batch size {bad} does not fit into memory, and the search ended there; begin lower with init_val, or "
            "make the model smaller"
        )
    return max(1, int(good * (1 - wanted.margin))) if wanted.mode == "binsearch" else good


def _next(wanted: Wanted, good: int, bad: int, size: int, samples: float | None) -> int | None:
    """What to try after ``size``; None where it is known."""
    if samples is not None and size >= samples:
        return None
    if not bad:
        following = min(2 * size, wanted.most)
        return following if following > size else None
    if wanted.mode == "power":
        return None if good else size // 2 or None
    return (good + bad) // 2 if bad - good > 1 else None
