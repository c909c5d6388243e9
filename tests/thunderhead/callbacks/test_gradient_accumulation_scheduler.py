"""GradientAccumulationScheduler: the factor of each epoch, and what it cannot be combined with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trainer_models import QUIET, Net, shuffled

import thunderhead as th
from thunderhead.callbacks import GradientAccumulationScheduler
from thunderhead.exceptions import MisconfigurationException


class Steps(th.Callback):
    """The optimizer steps done after each batch; saves once."""

    def __init__(self, save: Path | None = None) -> None:
        self.after: list[int] = []
        self._save = save

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note it."""
        self.after.append(trainer.global_step)
        if self._save is not None and (trainer.current_epoch, batch_idx) == (1, 2):
            trainer.save_checkpoint(self._save)


def trainer(*callbacks: th.Callback, **options: Any) -> th.Trainer:
    """A quiet trainer."""
    return th.Trainer(**{**QUIET, "max_epochs": 3, **options}, callbacks=list(callbacks))


def test_the_factor_changes_at_its_epoch() -> None:
    steps = Steps()
    made = trainer(GradientAccumulationScheduler({1: 3, 2: 2}), steps)
    made.fit(Net(), shuffled())
    # Five batches per epoch; the last one of an epoch always steps.
    assert steps.after == [1, 2, 3, 4, 5, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10]
    assert made.accumulate_grad_batches == 1


def test_a_run_after_one_that_was_interrupted() -> None:
    class Interrupting(Steps):
        def on_train_batch_end(self, trainer: Any, *others: Any) -> None:
            super().on_train_batch_end(trainer, *others)
            if len(self.after) == 7:
                raise KeyboardInterrupt

    steps, scheduler = Interrupting(), GradientAccumulationScheduler({1: 3})
    made = trainer(scheduler, steps)
    with pytest.raises(KeyboardInterrupt):
        made.fit(Net(), shuffled())
    made.fit(Net(), shuffled())
    assert steps.after[:5] == [1, 2, 3, 4, 5]
    assert made.accumulate_grad_batches == 1
    with pytest.raises(ValueError, match="accumulate_grad_batches=3 and GradientAccumulationScheduler both"):
        trainer(scheduler, accumulate_grad_batches=3).fit(Net(), shuffled())


def test_a_run_resumed_inside_an_epoch_has_the_factor_of_that_epoch(tmp_path: Path) -> None:
    scheduling = {1: 3}
    trainer(GradientAccumulationScheduler(scheduling), Steps(tmp_path / "x.ckpt"), max_epochs=2).fit(Net(), shuffled())
    steps = Steps()
    resumed = trainer(GradientAccumulationScheduler(scheduling), steps, max_epochs=2)
    resumed.fit(Net(), shuffled(), ckpt_path=tmp_path / "x.ckpt")
    assert steps.after == [6, 7]


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (3, 1), (4, 2), (7, 2), (8, 5), (100, 5)])
def test_factor_of_an_epoch(epoch: int, factor: int) -> None:
    scheduler = GradientAccumulationScheduler({8: 5, 4: 2})
    assert scheduler.get_accumulate_grad_batches(epoch) == factor
    assert scheduler.going_to_accumulate_grad_batches()
    assert not GradientAccumulationScheduler({3: 1}).going_to_accumulate_grad_batches()


@pytest.mark.parametrize(
    ("scheduling", "message"),
    [
        ({-1: 2}, "epoch -1 must be an integer of at least 0"),
        ({"1": 2}, "epoch '1' must be an integer"),
        ({1: 0}, "factor 0 must be an integer of at least 1"),
        ({1: 1.5}, "factor 1.5 must be an integer"),
    ],
)
def test_schedules_that_mean_nothing(scheduling: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        GradientAccumulationScheduler(scheduling)


def test_an_empty_schedule() -> None:
    with pytest.raises(TypeError, match="says nothing"):
        GradientAccumulationScheduler({})


def test_not_with_a_factor_of_the_trainer() -> None:
    with pytest.raises(ValueError, match="accumulate_grad_batches=2 and GradientAccumulationScheduler"):
        trainer(GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=2).fit(Net(), shuffled())


def test_not_with_manual_optimisation() -> None:
    net = Net()
    net.automatic_optimization = False
    with pytest.raises(RuntimeError, match="Net, which uses manual optimisation"):
        trainer(GradientAccumulationScheduler({1: 2})).fit(net, shuffled())
