"""What a run tells of itself once a second: the newest values, onto its board. Whatever they are, they end nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from torch import Tensor

from thunderhead.job.board import Board, Word
from thunderhead.job.notes import Notes
from thunderhead.job.telling import most_telling
from thunderhead.results.host_copy import NamedCopies
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.standing import logger_of
from thunderhead_api.treaty import STATUS_MAX_METRICS

_NAMED_LEFT_OUT: Final = 5

logger = logger_of(__name__)


class Telemetry:
    """The values of one run, for whoever reads the board.

    Args:
        run: whose values they are.
        training: with whose learning rates.
        board: where they go.
        notes: where it is noted how many found no room.
    """

    def __init__(self, run: Run, training: Training, board: Board, notes: Notes) -> None:
        self._run, self._training = run, training
        self._board = board
        self._notes = notes
        self._published: tuple[int, int] | None = None
        self._samples_per_second: float | None = None
        self._coming: NamedCopies | None = None
        self._said = False

    def publish(self, now_ns: int, samples: int, *, wait: bool) -> None:
        """Tell the newest values; ``wait`` for those that are still on their way from a device."""
        self._board.words[Word.SAMPLES] = samples
        values = {**self._numbers(wait=wait), **dict(self._rates())}
        self._measure(now_ns, samples)
        if self._samples_per_second is not None:
            values["samples_per_second"] = self._samples_per_second
        ordered = most_telling(values, watched=self._watched(), validated=self._validated())
        told = self._board.publish_metrics({name: values[name] for name in ordered[:STATUS_MAX_METRICS]})
        self._say([name for name in ordered if name not in told])

    def _measure(self, now_ns: int, samples: int) -> None:
        """How fast samples go. The last look may find none since the one before; then that one's rate stands."""
        before, self._published = self._published, (now_ns, samples)
        if before is None or now_ns <= before[0]:
            return
        if samples > before[1] or self._samples_per_second is None:
            self._samples_per_second = (samples - before[1]) / (now_ns - before[0]) * 1e9

    def _say(self, left_out: list[str]) -> None:
        self._notes.left_out(len(left_out))
        if left_out and not self._said and self._run.strategy.is_global_zero:
            self._said = True
            more = len(left_out) - _NAMED_LEFT_OUT
            logger.warning(
                "%d logged values are told in status and /metrics, the loggers get all; left out: %s%s",
                STATUS_MAX_METRICS,
                ", ".join(name[:80] for name in left_out[:_NAMED_LEFT_OUT]),
                f" and {more} more" if more > 0 else "",
            )

    def _numbers(self, *, wait: bool) -> dict[str, float]:
        """The newest values. From a device those of the last time, which have come over while training went on."""
        found = {name: value for name, value in self._run.metrics.callback.items() if _is_number(value)}
        coming, self._coming = self._coming, NamedCopies(found)
        ready = self._coming if wait else coming
        return {} if ready is None else ready.numbers()

    def _rates(self) -> Iterator[tuple[str, float]]:
        for index, optimizer in enumerate(self._training.optimizers.plain):
            # An optimizer of the user's own may keep anything there.
            rate: Any = optimizer.param_groups[0].get("lr") if optimizer.param_groups else None
            try:
                yield "lr" if index == 0 else f"lr_{index}", float(rate)
            except (TypeError, ValueError, RuntimeError, OverflowError):
                continue

    def _watched(self) -> set[str]:
        monitors = (getattr(callback, "monitor", None) for callback in self._run.callbacks)
        return {name for name in monitors if isinstance(name, str)}

    def _validated(self) -> set[str]:
        results = self._training.validation.results
        return {entry.name for entry in results.entries()} if results is not None else set()


def _is_number(value: Tensor) -> bool:
    return value.numel() == 1 and not value.is_complex() and not value.is_meta
