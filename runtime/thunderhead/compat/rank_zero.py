"""Doing and saying things on one rank only, under the names that Lightning's users import."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from thunderhead.warning import PossibleUserWarning, notes

Given = ParamSpec("Given")
Result = TypeVar("Result")
# The first that is set counts. SLURM's is set too where others start the processes.
_RANKS: Final = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def rank_of(environ: Mapping[str, str]) -> int | None:
    """The rank that a launcher set; None where none did."""
    return next((int(environ[name]) for name in _RANKS if name in environ), None)


class LightningDeprecationWarning(DeprecationWarning):
    """Something that will go away."""


class RankZeroOnly:
    """Decorates functions that do nothing on other ranks than 0.

    Attributes:
        rank: rank of this process, from what its launcher set; can be set.
    """

    def __init__(self) -> None:
        self._rank: int | None = None

    @property
    def rank(self) -> int:
        """Rank of this process."""
        if self._rank is not None:
            return self._rank
        return rank_of(os.environ) or 0

    @rank.setter
    def rank(self, rank: int) -> None:
        self._rank = rank

    def __call__(self, fn: Callable[Given, Result], default: Result | None = None) -> Callable[Given, Result | None]:
        """``fn`` on rank 0; ``default`` elsewhere."""

        @functools.wraps(fn)
        def on_rank_zero(*args: Given.args, **kwargs: Given.kwargs) -> Result | None:
            return fn(*args, **kwargs) if self.rank == 0 else default

        return on_rank_zero


rank_zero_only = RankZeroOnly()


@rank_zero_only
def rank_zero_debug(*args: object, stacklevel: int = 4, **kwargs: Any) -> None:
    """``logging.debug`` on rank 0."""
    notes().debug(*args, stacklevel=stacklevel, **kwargs)


@rank_zero_only
def rank_zero_info(*args: object, stacklevel: int = 4, **kwargs: Any) -> None:
    """``logging.info`` on rank 0."""
    notes().info(*args, stacklevel=stacklevel, **kwargs)


@rank_zero_only
def rank_zero_warn(message: str | Warning, stacklevel: int = 4, **kwargs: Any) -> None:
    """``warnings.warn`` on rank 0."""
    warnings.warn(message, stacklevel=stacklevel, **kwargs)


def rank_zero_deprecation(message: str | Warning, stacklevel: int = 5, **kwargs: object) -> None:
    """Warn on rank 0 that something will go away."""
    rank_zero_warn(message, stacklevel=stacklevel, **{"category": LightningDeprecationWarning, **kwargs})


def rank_prefixed_message(message: str, rank: int | None) -> str:
    """``message`` with its rank in front, if that is known."""
    return message if rank is None else f"[rank: {rank}] {message}"


class WarningCache(set[str]):
    """Messages said already."""

    def warn(self, message: str, stacklevel: int = 5, **kwargs: object) -> None:
        """Warn on rank 0, the first time."""
        if message not in self:
            self.add(message)
            rank_zero_warn(message, stacklevel=stacklevel, **kwargs)

    def deprecation(self, message: str, stacklevel: int = 6, **kwargs: object) -> None:
        """Warn on rank 0 that something will go away, the first time."""
        if message not in self:
            self.add(message)
            rank_zero_deprecation(message, stacklevel=stacklevel, **kwargs)

    def info(self, message: str, stacklevel: int = 5, **kwargs: object) -> None:
        """Say it on rank 0, the first time."""
        if message not in self:
            self.add(message)
            rank_zero_info(message, stacklevel=stacklevel, **kwargs)


def disable_possible_user_warnings(module: str = "") -> None:
    """Silence warnings of things that are often, not always, mistakes; ``module`` names whose, by default all."""
    warnings.filterwarnings("ignore", module=module, category=PossibleUserWarning)
