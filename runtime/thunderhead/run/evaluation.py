"""What one kind of evaluation carries: its loaders, what it measures, and how far it has come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from thunderhead.core.position import Next, Position
from thunderhead.data.source import EvaluationData
from thunderhead.results.results import Results


@dataclass(slots=True)
class Evaluation:
    """Validation inside a fit, or one of the entry points validate, test and predict.

    Attributes:
        kind: validation, test or predict, as in the names of hooks.
        fitting: it is part of a fit.
        results: what the module logs meanwhile; None for predict.
        data: the loaders, once loaded.
        possible: fit validates: there is a validation step, and a loader that is not limited to nothing.
        has_run: whether it has run outside of a sanity check.
        batches: batches of the newest run, with the one in hand.
        batches_before: batches of the runs before it in the running training epoch.
        began_with: random state before the run within fit that goes on, or that an exception ended.
        seen: step values sent to the loggers by loader, their x axis.
        seen_before: the same before the run that goes on.
        over: the newest run is over but for the module's way back into training.
        ended_at: when the newest run ended, or training began, by ``time.monotonic``.
        keep_predictions: whether to keep what ``predict_step`` returns.
        predictions: what it returned, per loader and batch.
    """

    kind: str
    fitting: bool = False
    results: Results | None = None
    data: EvaluationData | None = None
    possible: bool = False
    has_run: bool = False
    batches: int = 0
    batches_before: int = 0
    began_with: dict[str, Any] | None = None
    seen: list[int] = field(default_factory=list)
    seen_before: list[int] = field(default_factory=list)
    over: bool = False
    ended_at: float = field(default_factory=time.monotonic)
    keep_predictions: bool = False
    predictions: list[list[Any]] = field(default_factory=list)

    def seconds_since_last(self) -> float:
        """Seconds since the last run ended, or since training began."""
        return time.monotonic() - self.ended_at

    def restart_clock(self) -> None:
        """A run has ended, or training begins."""
        self.ended_at = time.monotonic()

    @property
    def batches_in_epoch(self) -> int:
        """Batches of all runs of the running training epoch."""
        return self.batches_before + self.batches

    def begin_epoch(self) -> None:
        """A training epoch begins: those of the run before it are not of it."""
        self.batches_before = -self.batches

    def counted(self) -> tuple[int, int]:
        """Batches of the newest run, and of all of the epoch."""
        return self.batches, self.batches_in_epoch

    def counted_at(self, position: Position) -> tuple[int, int]:
        """The same at ``position``, where a validation may have to be run again."""
        return (0, self.batches_before) if self._runs_again(position) else self.counted()

    def count_from(self, counted: tuple[int, int]) -> None:
        """What ran since then does not count, as a sanity check; nor what another process ran, where it is taken up."""
        self.batches, self.batches_before = counted[0], counted[1] - counted[0]

    def seen_at(self, position: Position) -> list[int]:
        """The x axis at ``position``, where a validation may have to be run again."""
        return self.seen_before if self._runs_again(position) else list(self.seen)

    def _runs_again(self, position: Position) -> bool:
        return self.began_with is not None and position.next is Next.VALIDATE


def evaluation(kind: str, *, fitting: bool = False) -> Evaluation:
    """A new one of ``kind``."""
    return Evaluation(kind, fitting, None if kind == "predict" else Results(training=False))
