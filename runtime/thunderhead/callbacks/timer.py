"""A limit on training time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from thunderhead.arguments import duration as parse_duration
from thunderhead.arguments import switch
from thunderhead.core.hooks import StepOutput
from thunderhead.exceptions import MisconfigurationException
from thunderhead.user.callback import Callback
from thunderhead.warning import say

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_STAGES = ("train", "sanity_check", "validate", "test", "predict")


class Timer(Callback):
    """Measures the time spent in training, validation and test, and ends training after ``duration``.

    Training time goes on counting after a resume. In a distributed run rank 0's clock decides, and all ranks stop after
    the same step.

    Args:
        duration: ``"DD:HH:MM:SS"``, a timedelta or a dict of its arguments; None only measures.
        interval: look at the clock after each ``step`` or each ``epoch``.
        verbose: say when the time is up.
        clock: seconds, ever increasing.

    Raises:
        MisconfigurationException: there is no such interval, or that is no duration.
    """

    def __init__(
        self,
        duration: str | timedelta | dict[str, int] | None = None,
        interval: str = "step",
        verbose: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if interval not in ("step", "epoch"):
            raise MisconfigurationException(f"Timer(interval={interval!r}) is neither 'step' nor 'epoch'")
        span = parse_duration("Timer: duration", duration)
        self._duration = None if span is None else span.total_seconds()
        self._interval = interval
        self._verbose = switch("Timer: verbose", verbose)
        self._clock = clock
        self._start: dict[str, float] = {}
        self._end: dict[str, float] = {}
        self._offset = 0.0
        self._asked = False

    def start_time(self, stage: str = "train") -> float | None:
        """When a stage began, by the clock; None before it did."""
        return self._start.get(_checked(stage))

    def end_time(self, stage: str = "train") -> float | None:
        """When a stage ended, by the clock; None before it did."""
        return self._end.get(_checked(stage))

    def time_elapsed(self, stage: str = "train") -> float:
        """Seconds spent in a stage; training's include those before a resume."""
        offset = self._offset if _checked(stage) == "train" else 0.0
        if stage not in self._start:
            return offset
        return self._end.get(stage, self._clock()) - self._start[stage] + offset

    def time_remaining(self, stage: str = "train") -> float | None:
        """Seconds left; None without a limit."""
        return None if self._duration is None else self._duration - self.time_elapsed(stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing to train when the time was up before a resume."""
        if self._duration is not None and self._offset >= self._duration:
            trainer.should_stop = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training time begins."""
        self._begin("train")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training time ends."""
        self._end["train"] = self._clock()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation time begins."""
        self._begin("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation time ends."""
        self._end["validate"] = self._clock()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test time begins."""
        self._begin("test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test time ends."""
        self._end["test"] = self._clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: object, batch_idx: int
    ) -> None:
        """Look at the clock."""
        if self._duration is not None and self._interval == "step":
            self._check_time_remaining(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the clock; here all ranks can be asked at once."""
        if self._duration is not None and self._interval == "epoch":
            self._check_time_remaining(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Time spent so far."""
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in _STAGES}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from there."""
        self._offset = float(state_dict.get("time_elapsed", {}).get("train", 0.0))

    def _begin(self, stage: str) -> None:
        self._start[stage] = self._clock()
        self._end.pop(stage, None)

    def _check_time_remaining(self, trainer: Trainer) -> None:
        """Stop where the time is up; by Lightning's name, since subclasses count otherwise."""
        assert self._duration is not None
        is_over = self.time_elapsed() >= self._duration
        if self._interval == "step":
            if is_over:
                self._finish(trainer)
        elif trainer.strategy.tell(is_over):
            trainer.stop_together()
            self._say()

    def _finish(self, trainer: Trainer) -> None:
        if not self._asked:
            self._asked = True
            self._say()
            trainer.stop_after_agreement()

    def _say(self) -> None:
        if self._verbose:
            say(f"the time limit of {self._duration:g} s is reached; training stops")


def _checked(stage: str) -> str:
    if stage not in _STAGES:
        raise MisconfigurationException(f"Timer measures no stage {stage!r}; use one of {', '.join(_STAGES)}")
    return stage
