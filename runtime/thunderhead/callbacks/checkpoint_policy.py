"""When ModelCheckpoint saves: one pure function, asked at each of three moments."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Moment(StrEnum):
    """When the question is asked."""

    BATCH = "batch"  # a training batch has ended
    VALIDATION = "validation"  # a validation run has ended
    EPOCH = "epoch"  # a training epoch has ended


class Decision(StrEnum):
    """What to do."""

    NOTHING = "nothing"
    SAVE = "save"
    LATER = "later"  # at the end of the validation that follows, whose metrics are the fresh ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """What makes a save due; at most one is set.

    Attributes:
        every_n_train_steps: optimizer steps between saves, 0 for off.
        every_n_epochs: epochs between saves, 0 for off.
        interval_s: seconds between saves, None for off.
    """

    every_n_train_steps: int = 0
    every_n_epochs: int = 0
    interval_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the decision depends on.

    Attributes:
        step: optimizer steps done.
        epoch: epochs completed before the running one.
        saved_step: step of the last save.
        deferred: a save was put off until this validation.
        time_is_up: ``interval_s`` has passed since the last save.
        validation_follows: validation runs right after this batch.
        metric_missing: a metric is monitored and has no value yet.
        at_epoch_end: epochs' saves happen at the end of the training epoch rather than of validation.
    """

    step: int
    epoch: int
    saved_step: int
    deferred: bool = False
    time_is_up: bool = False
    validation_follows: bool = False
    metric_missing: bool = False
    at_epoch_end: bool = True


def decide(moment: Moment, triggers: Triggers, now: Situation) -> Decision:
    """What to do at ``moment``. The same on every rank, where ``time_is_up`` and ``metric_missing`` are rank 0's."""
    if moment is Moment.BATCH:
        every = triggers.every_n_train_steps
        if not ((every > 0 and now.step % every == 0) or now.time_is_up):
            return Decision.NOTHING
        if now.metric_missing or now.validation_follows:
            return Decision.LATER
        return Decision.NOTHING if now.step == now.saved_step else Decision.SAVE
    if now.step == now.saved_step:
        return Decision.NOTHING
    if moment is Moment.VALIDATION and now.deferred:
        return Decision.SAVE
    due = triggers.every_n_epochs > 0 and (now.epoch + 1) % triggers.every_n_epochs == 0
    own_moment = now.at_epoch_end if moment is Moment.EPOCH else not now.at_epoch_end
    return Decision.SAVE if due and own_moment else Decision.NOTHING
