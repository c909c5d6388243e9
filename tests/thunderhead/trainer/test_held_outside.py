"""What users keep of a Trainer, set on it, or hold a module with, from one run to the next."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from trainer_models import QUIET

import thunderhead as th
from thunderhead.core.state import RunningStage, TrainerFn, TrainerState, TrainerStatus
from thunderhead.loggers import CSVLogger
from thunderhead.precision import Precision


def rows() -> DataLoader[Tensor]:
    return DataLoader(torch.arange(4.0)[:, None])  # type: ignore[arg-type]  # a tensor has a length and items


class Plain(th.LightningModule):
    """Trains, validates and tests on rows of one number."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.layer, self.fails_at = nn.Linear(1, 1), fails_at

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == self.fails_at:
            raise KeyError("a row is bad")
        loss = self.layer(batch).sum()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("seen", float(batch_idx))

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("tested", float(batch_idx))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Calls(th.Callback):
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_train_epoch_start(self, trainer: th.Trainer, pl_module: th.LightningModule) -> None:
        self.epochs.append(trainer.current_epoch)


def test_callbacks_and_loggers_that_were_put_aside_can_be_put_back(tmp_path: Path) -> None:
    """As a tuner does it around its trial."""
    calls, logger = Calls(), CSVLogger(tmp_path)
    trainer = th.Trainer(**{**QUIET, "logger": logger}, callbacks=[calls], max_epochs=1)
    callbacks, loggers = trainer.callbacks, trainer.loggers
    trainer.callbacks, trainer.loggers = [], []
    trainer.fit(Plain(), rows())
    trainer.callbacks, trainer.loggers = callbacks, loggers
    assert trainer.callbacks == [calls]
    assert trainer.loggers == [logger]
    assert trainer.global_step == 4
    assert calls.epochs == []


def test_callbacks_and_loggers_set_within_a_run_count_in_it(tmp_path: Path) -> None:
    late, logger = Calls(), CSVLogger(tmp_path)

    class Adds(th.Callback):
        def on_train_epoch_end(self, trainer: th.Trainer, pl_module: th.LightningModule) -> None:
            trainer.callbacks = [self, late]
            trainer.loggers = [logger]

    trainer = th.Trainer(**QUIET, callbacks=[Adds()], max_epochs=3, log_every_n_steps=1)
    trainer.fit(Plain(), rows())
    assert late.epochs == [1, 2]
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(4, 12))


def test_how_often_to_record_may_be_set_in_setup(tmp_path: Path) -> None:
    class Often(Plain):
        def setup(self, stage: str) -> None:
            self.trainer.log_every_n_steps = 1

    logger = CSVLogger(tmp_path)
    th.Trainer(**{**QUIET, "logger": logger}, max_epochs=1).fit(Often(), rows())
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


@pytest.mark.parametrize("when", ["before any run", "in the first run"])
def test_a_module_held_by_another_logs_into_whatever_run_goes_on(when: str) -> None:
    """It is no child, so nobody attaches it anew."""
    helper, trainer = Plain(), th.Trainer(**QUIET, max_epochs=1)

    class Holds(Plain):
        def setup(self, stage: str) -> None:
            if helper._trainer is None:
                helper.trainer = self.trainer

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            helper.log("of helper", 1.0)
            return super().training_step(batch, batch_idx)

        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            helper.log("of helper", 2.0)

    if when == "before any run":
        helper.trainer = trainer
    module = Holds()
    trainer.fit(module, rows())
    assert trainer.callback_metrics["of helper"] == 1
    trainer.test(module, rows(), verbose=False)
    assert trainer.callback_metrics["of helper"] == 2


def test_attributes_of_a_run_can_be_set_by_hand() -> None:
    datamodule: Any = th.LightningDataModule()
    trainer = th.Trainer(**QUIET, max_epochs=1)
    for _ in ("before any run", "after one"):
        trainer.datamodule, trainer.lr_scheduler_configs = datamodule, []
        assert trainer.datamodule is datamodule
        assert trainer.lr_scheduler_configs == []
        trainer.fit(Plain(), rows())
        assert trainer.datamodule is None


def test_a_file_written_after_the_validation_that_followed_a_failure_holds_no_batch(tmp_path: Path) -> None:
    module, trainer = Plain(fails_at=2), th.Trainer(**QUIET, max_epochs=1)
    with pytest.raises(KeyError):
        trainer.fit(module, rows())
    trainer.validate(module, rows(), verbose=False)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    own = torch.load(tmp_path / "a.ckpt", weights_only=False)["thunderhead"]
    assert own["hand"] is None
    assert own["data"]["samples"] == 2


def test_the_path_by_which_checkpoint_io_was_known_still_leads_there() -> None:
    from thunderhead.checkpoint.io import AsyncCheckpointIO, CheckpointIO
    from thunderhead.files import checkpoint_io as io

    assert (AsyncCheckpointIO, CheckpointIO) == (io.AsyncCheckpointIO, io.CheckpointIO)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_backward_by_hand_in_test_is_that_of_the_module_tested(fitted: bool) -> None:
    """A module may adapt itself to the data it is tested on; the one that was trained before has no part in it."""
    called: list[th.LightningModule] = []

    class Adapts(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def on_after_backward(self) -> None:
            called.append(self)

        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            with torch.enable_grad():
                self.manual_backward(self.layer(batch).sum())

    trainer = th.Trainer(**QUIET, max_epochs=1, inference_mode=False)
    if fitted:
        trainer.fit(Plain(), rows())
    module = Adapts()
    trainer.test(module, rows(), verbose=False)
    assert called == [module] * 4


@pytest.mark.parametrize("hook", ["clip_gradients", "clip_grad_by_norm", "clip_grad_by_value"])
def test_a_number_format_that_clips_in_its_own_way_still_does(hook: str) -> None:
    """And may leave the work to ours, which does the same without it."""
    values: list[float] = []

    def clips(self: Precision, optimizer: torch.optim.Optimizer, value: float, *algorithm: str) -> None:
        values.append(value)
        getattr(Precision, hook)(self, optimizer, value, *algorithm)

    algorithm = "value" if hook == "clip_grad_by_value" else "norm"
    weights = []
    for plugins in ([type("Clips", (Precision,), {hook: clips})()], []):
        torch.manual_seed(0)
        module = Plain()
        limits = {"gradient_clip_val": 0.5, "gradient_clip_algorithm": algorithm}
        th.Trainer(**QUIET, max_epochs=1, plugins=plugins, **limits).fit(module, rows())
        weights.append(module.layer.weight.item())
    assert values == [0.5] * 4
    assert weights[0] == weights[1]


def test_what_the_run_before_measured_is_there_until_the_next_is_prepared() -> None:
    class Looks(th.Callback):
        def __init__(self) -> None:
            self.seen: list[list[str]] = []

        def setup(self, trainer: th.Trainer, pl_module: th.LightningModule, stage: str) -> None:
            self.seen.append(sorted(trainer.callback_metrics))

        def on_fit_start(self, trainer: th.Trainer, pl_module: th.LightningModule) -> None:
            self.seen.append(sorted(trainer.callback_metrics))

    looks = Looks()
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[looks])
    trainer.fit(Plain(), rows())
    trainer.max_epochs = 2
    trainer.fit(Plain(), rows())
    trainer.validate(Plain(), rows(), verbose=False)
    assert looks.seen == [[], [], ["loss"], [], ["loss"]]
    assert sorted(trainer.callback_metrics) == ["seen"]


def test_state_can_be_set() -> None:
    trainer = th.Trainer(**QUIET, max_epochs=1)
    for fitted in (False, True):
        if fitted:
            trainer.fit(Plain(), rows())
        trainer.state = TrainerState(TrainerStatus.RUNNING, TrainerFn.TESTING, RunningStage.TESTING)
        assert trainer.testing


def test_a_run_in_which_sigterm_is_said_to_be_received_ends_as_by_a_signal() -> None:
    class Says(Plain):
        def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
            self.trainer.received_sigterm = batch_idx == 1

    trainer = th.Trainer(**QUIET, max_epochs=1)
    with pytest.raises(SystemExit, match="143"):
        trainer.fit(Says(), rows())
    assert (trainer.received_sigterm, trainer.global_step) == (True, 2)
