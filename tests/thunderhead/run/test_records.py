"""Loops, results and the content of checkpoints, each without a Trainer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from run_records import Plain, Records, run_of, training_of
from torch.utils.data import DataLoader

from thunderhead.checkpoint import content
from thunderhead.core.position import Next, Position
from thunderhead.loops.evaluate import EvaluationLoop
from thunderhead.loops.fit import FitLoop
from thunderhead.results.results import Results, Views
from thunderhead.run.moment import position_for_file
from thunderhead.run.run import Run
from thunderhead.run.training import Training, following, new_training

BATCHES = DataLoader(torch.tensor([1.0, 2.0, 4.0]), batch_size=1)


def train(run: Run, training: Training) -> None:
    FitLoop(run, training, EvaluationLoop(run, training, training.validation)).run()


@pytest.mark.parametrize(
    ("given", "weight", "position"),
    [
        ({"max_epochs": 1}, -7.0, Position(epoch=1, batches=3, step=3, log_step=3)),
        ({"max_epochs": 2, "max_steps": 4}, -8.0, Position(batch=1, epoch=2, batches=4, step=4, log_step=4)),
        ({"max_epochs": 1, "limit_train_batches": 2}, -3.0, Position(epoch=1, batches=2, step=2, log_step=2)),
        ({"max_epochs": 1, "accumulate_grad_batches": 3}, -7 / 3, Position(epoch=1, batches=3, step=1, log_step=1)),
    ],
)
def test_a_loop_trains_what_its_records_say(given: dict[str, Any], weight: float, position: Position) -> None:
    module = Plain()
    run = run_of(module, loaders=BATCHES, **given)
    training = training_of(run)
    train(run, training)
    assert module.weight.item() == pytest.approx(weight)
    assert replace(training.position, samples=0, batch=0) == replace(position, batch=0)


def test_records_go_to_the_loggers_of_the_run() -> None:
    log = Records()
    run = run_of(Plain(), log, loaders=BATCHES, max_epochs=1)
    train(run, training_of(run))
    assert [(step, values["loss"]) for step, values in log.seen] == [(0, 0.0), (1, -2.0), (2, -12.0)]


def test_a_run_may_be_told_to_stop_by_its_record() -> None:
    run = run_of(Plain(), loaders=BATCHES, max_epochs=3)
    training = training_of(run)
    run.stop.asked = True
    train(run, training)
    assert training.position == Position()


@pytest.mark.parametrize(
    ("next_", "ends", "expected"),
    [
        (Next.EPOCH, False, Position(epoch=1, batches=5, step=5, log_step=5)),
        (Next.BATCH, False, Position(epoch=1, batches=5, step=5, log_step=5)),
        (Next.BATCH, True, Position(epoch=2, batches=5, step=5, log_step=5)),
        (Next.EPOCH_END, False, Position(epoch=2, batches=5, step=5, log_step=5)),
    ],
)
def test_the_fit_that_follows_takes_the_position_and_no_more(next_: Next, ends: bool, expected: Position) -> None:
    before = new_training(host=True)
    before.position.become(Position(epoch=1, batch=2 * (next_ is not Next.EPOCH), batches=5, step=5, log_step=5))
    before.position.next = next_
    before.epoch.ends, before.epoch.begun, before.epoch.cut = ends, True, "cut"
    before.validation.seen, before.validation.has_run = [4], True
    after = following(before, host=True, reload_every=0)
    assert after.position == expected
    assert after.position is not before.position
    assert (after.validation.seen, after.validation.has_run) == ([4], False)
    assert (after.epoch.begun, after.epoch.ends, after.epoch.cut, after.data) == (False, False, "", None)


def test_content_is_made_of_records_and_put_back_into_others() -> None:
    module = Plain()
    run = run_of(module, loaders=BATCHES, max_epochs=1)
    training = training_of(run)
    train(run, training)
    made = content.dump(run, training, position_for_file(run, training))
    assert (made["epoch"], made["global_step"]) == (1, 3)
    assert torch.equal(made["state_dict"]["weight"], module.weight)

    other = Plain()
    resumed = run_of(other, loaders=BATCHES, max_epochs=2)
    content.restore_modules(resumed, made)
    to_train = training_of(resumed)
    content.restore_training(resumed, to_train, made)
    assert to_train.position.epochs_trained == 1
    train(resumed, to_train)
    assert other.weight.item() == -14.0


def test_values_are_remembered_per_run() -> None:
    run, results = run_of(Plain()), Results(training=True)
    run.sink.results = results
    run.sink.enter("training_step")
    call = (True, None, True, True, "mean", False, False, None, True, None, False)
    for value in (1.0, 3.0):
        run.sink.log("loss", value, 1, call)
    run.metrics.publish_epoch(results)
    assert {name: value.item() for name, value in run.metrics.callback.items()} == {"loss_epoch": 2.0, "loss": 2.0} | {
        name: value.item() for name, value in run.metrics.callback.items() if name == "loss_step"
    }
    run.metrics.forget_since(Views())
    run.sink.results = None
    assert run.metrics.callback == {}
