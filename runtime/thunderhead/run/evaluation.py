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
        batches: batches of the newest run.
        batches_in_epoch: batches of all runs of the running training epoch.
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
    batches_in_epoch: int = 0
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

    def counted(self) -> tuple[int, int]:
        """Batches of the newest run, and of the running epoch."""
        return self.batches, self.batches_in_epoch

    def count_from(self, counted: tuple[int, int]) -> None:
        """What ran since then does not count, as a sanity check; nor what another process ran, where it is taken up."""
        self.batches, self.batches_in_epoch = counted

    def seen_at(self, position: Position) -> list[int]:
        """The x axis at ``position``, where a validation may have to be run again."""
        return list(self.seen) if self.began_with is None or position.next is not Next.VALIDATE else self.seen_before


def evaluation(kind: str, *, fitting: bool = False) -> Evaluation:
    """A new one of ``kind``."""
    return Evaluation(kind, fitting, None if kind == "predict" else Results(training=False))
