"""When ModelCheckpoint saves: one pure function, asked at each of three moments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from thunderhead.exceptions import MisconfigurationException


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


def triggers_of(steps: int | None, epochs: int | None, interval: timedelta | None) -> Triggers:
    """Triggers from ModelCheckpoint's arguments: every epoch where there are none.

    Raises:
        MisconfigurationException: more than one, or one below 0.
    """
    for name, value in (("every_n_train_steps", steps), ("every_n_epochs", epochs)):
        if value is not None and value < 0:
            raise MisconfigurationException(f"ModelCheckpoint({name}={value}) must be at least 0")
    if bool(steps) + bool(epochs) + (interval is not None) > 1:
        raise MisconfigurationException(
            f"ModelCheckpoint got every_n_train_steps={steps}, every_n_epochs={epochs} and "
            f"train_time_interval={interval}; "
            "pass one of them, or one callback for each"
        )
    if steps is None and epochs is None and interval is None:
        epochs = 1
    seconds = None if interval is None else interval.total_seconds()
    return Triggers(every_n_train_steps=steps or 0, every_n_epochs=epochs or 0, interval_s=seconds)


def check_arguments(mode: str, monitor: str | None, save_top_k: int, save_last: Any) -> None:
    """Refuse arguments of ModelCheckpoint that contradict each other.

    Raises:
        MisconfigurationException: they do.
    """
    if mode not in ("min", "max"):
        raise MisconfigurationException(f"ModelCheckpoint(mode={mode!r}) is neither 'min' nor 'max'")
    if save_top_k < -1:
        raise MisconfigurationException(f"ModelCheckpoint(save_top_k={save_top_k}) must be at least -1")
    if monitor is None and save_top_k not in (-1, 0, 1):
        raise MisconfigurationException(
            f"ModelCheckpoint(save_top_k={save_top_k}) has nothing to rank by; pass monitor, or use -1, 0 or 1"
        )
    if save_last not in (None, True, False, "link"):
        raise MisconfigurationException(f"ModelCheckpoint(save_last={save_last!r}) is none of True, False, 'link'")


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
