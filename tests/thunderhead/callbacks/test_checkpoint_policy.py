"""When ModelCheckpoint saves."""

from __future__ import annotations

from typing import Any

import pytest

from thunderhead.callbacks.checkpoint_policy import Decision, Moment, Situation, Triggers, decide

STEPS = Triggers(every_n_train_steps=3)
EPOCHS = Triggers(every_n_epochs=2)
CLOCK = Triggers(interval_s=60.0)
NOTHING, SAVE, LATER = Decision.NOTHING, Decision.SAVE, Decision.LATER


@pytest.mark.parametrize(
    ("moment", "triggers", "situation", "decision"),
    [
        (Moment.BATCH, STEPS, {"step": 3}, SAVE),
        (Moment.BATCH, STEPS, {"step": 4}, NOTHING),
        (Moment.BATCH, STEPS, {"step": 3, "saved_step": 3}, NOTHING),
        (Moment.BATCH, STEPS, {"step": 3, "validation_follows": True}, LATER),
        (Moment.BATCH, STEPS, {"step": 3, "metric_missing": True}, LATER),
        (Moment.BATCH, CLOCK, {"step": 5, "time_is_up": True}, SAVE),
        (Moment.BATCH, CLOCK, {"step": 5}, NOTHING),
        (Moment.BATCH, EPOCHS, {"step": 6}, NOTHING),
        (Moment.VALIDATION, STEPS, {"step": 3, "deferred": True}, SAVE),
        (Moment.VALIDATION, STEPS, {"step": 3}, NOTHING),
        (Moment.VALIDATION, EPOCHS, {"step": 6, "epoch": 1, "at_epoch_end": False}, SAVE),
        (Moment.VALIDATION, EPOCHS, {"step": 6, "epoch": 1}, NOTHING),
        (Moment.VALIDATION, EPOCHS, {"step": 3, "epoch": 0, "at_epoch_end": False}, NOTHING),
        (Moment.VALIDATION, EPOCHS, {"step": 6, "epoch": 1, "at_epoch_end": False, "saved_step": 6}, NOTHING),
        (Moment.EPOCH, EPOCHS, {"step": 6, "epoch": 1}, SAVE),
        (Moment.EPOCH, EPOCHS, {"step": 6, "epoch": 1, "at_epoch_end": False}, NOTHING),
        (Moment.EPOCH, EPOCHS, {"step": 9, "epoch": 2}, NOTHING),
        (Moment.EPOCH, STEPS, {"step": 9, "epoch": 2}, NOTHING),
    ],
)
def test_decisions(moment: Moment, triggers: Triggers, situation: dict[str, Any], decision: Decision) -> None:
    assert decide(moment, triggers, Situation(**{"epoch": 0, "saved_step": 0, **situation})) is decision
