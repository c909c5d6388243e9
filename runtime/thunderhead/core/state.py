"""What a run is doing, in the words users compare with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TrainerFn(StrEnum):
    """Entry points."""

    FITTING = "fit"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"


class RunningStage(StrEnum):
    """Stages of a run."""

    TRAINING = "train"
    SANITY_CHECKING = "sanity_check"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"

    @property
    def evaluating(self) -> bool:
        """Whether it is validation, its sanity check, or test."""
        return self in (self.VALIDATING, self.TESTING, self.SANITY_CHECKING)

    @property
    def dataloader_prefix(self) -> str:
        """How the hook of its loaders begins."""
        return "val" if self in (self.VALIDATING, self.SANITY_CHECKING) else self.value


class TrainerStatus(StrEnum):
    """How a run stands."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"

    @property
    def stopped(self) -> bool:
        """Whether it is over."""
        return self in (self.FINISHED, self.INTERRUPTED)


@dataclass
class TrainerState:
    """Entry point, stage and status; the first two are None outside of a run."""

    status: TrainerStatus = TrainerStatus.INITIALIZING
    fn: TrainerFn | None = None
    stage: RunningStage | None = None

    @property
    def finished(self) -> bool:
        """The last run ended well."""
        return self.status is TrainerStatus.FINISHED

    @property
    def stopped(self) -> bool:
        """The last run is over."""
        return self.status.stopped
