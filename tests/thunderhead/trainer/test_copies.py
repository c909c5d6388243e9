"""Everything that a user may hold after a fit can be pickled, deep-copied and saved by torch; copies stand alone."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import thunderhead as th
from thunderhead.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichModelSummary,
    RichProgressBar,
    Timer,
    TQDMProgressBar,
)
from thunderhead.core.optimizer import LightningOptimizer
from thunderhead.loggers import CSVLogger, TensorBoardLogger


class Line(th.LightningModule):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)
        self.kept: Any = None

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.kept = self.optimizers()
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch).square().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.1)


def saved_by_torch(held: Any) -> Any:
    stream = io.BytesIO()
    torch.save(held, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda held: pickle.loads(pickle.dumps(held)),
    "deepcopy": copy.deepcopy,
    "torch.save": saved_by_torch,
}


def fitted(tmp_path: Path, bar: Any, logger: Any) -> tuple[th.Trainer, Line]:
    callbacks = [
        *[bar, ModelCheckpoint(tmp_path / "saved", monitor="loss"), EarlyStopping("loss"), RichModelSummary(), Timer()],
        *([LearningRateMonitor()] if logger else []),
    ]
    trainer = th.Trainer(max_epochs=1, accelerator="cpu", logger=logger, callbacks=callbacks, log_every_n_steps=1)
    module = Line()
    trainer.fit(module, DataLoader(torch.ones(8, 2), 4), DataLoader(torch.ones(2, 2)))
    return trainer, module


@pytest.mark.filterwarnings("ignore:checkpoint directory")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("bar", "logger"), [(RichProgressBar, CSVLogger), (TQDMProgressBar, TensorBoardLogger)])
def test_each_can_be_copied(tmp_path: Path, way: str, bar: Any, logger: Any) -> None:
    trainer, module = fitted(tmp_path, bar(), logger(tmp_path))
    for held in (*trainer.callbacks, trainer.logger, trainer.strategy, trainer.callbacks):
        made = WAYS[way](held)
        assert type(made) is type(held)
    copied = WAYS[way](module)
    assert torch.equal(copied.layer.weight, module.layer.weight)
    assert copied._trainer is None
    assert copied.hparams == module.hparams
    again = WAYS[way](trainer)
    assert (again.current_epoch, again.global_step, again.max_epochs) == (1, 2, 1)
    assert again.callback_metrics == trainer.callback_metrics
    assert [type(callback) for callback in again.callbacks] == [type(callback) for callback in trainer.callbacks]
    assert again.checkpoint_callback.best_model_path == trainer.checkpoint_callback.best_model_path
    # The copy trains on, and what it was made of is left alone.
    before = module.layer.weight.clone()
    again.max_epochs = 2
    again.fit(copied, DataLoader(torch.ones(8, 2), 4), DataLoader(torch.ones(2, 2)))
    assert (again.global_step, trainer.global_step) == (4, 2)
    assert torch.equal(module.layer.weight, before)
    assert not torch.equal(copied.layer.weight, before)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("steps", [0, 2])
def test_wrapped_optimizers(tmp_path: Path, way: str, steps: int) -> None:
    trainer, module = fitted(tmp_path, TQDMProgressBar(), False)
    made = WAYS[way](module.kept)
    assert isinstance(made, LightningOptimizer)
    assert isinstance(made, torch.optim.Adam)
    assert made.optimizer is not module.kept.optimizer
    assert made.state_dict()["state"].keys() == module.kept.state_dict()["state"].keys()
    parameter = made.param_groups[0]["params"][0]
    before = parameter.detach().clone()
    for _ in range(steps):
        parameter.grad = torch.ones_like(parameter)
        made.step()
    assert torch.equal(parameter, before) == (steps == 0)
    assert trainer.global_step == 2
    with made.toggle_model():
        made.zero_grad()


def test_one_that_belongs_to_no_run() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = LightningOptimizer(torch.optim.SGD([parameter], 0.5))
    parameter.grad = torch.ones(1)
    optimizer.step()
    assert parameter.item() == 0.5
    assert optimizer.step(closure=lambda: parameter.sum()).item() == 0.5  # type: ignore[union-attr]
    assert repr(optimizer).startswith("LightningSGD")


def test_a_trainer_before_its_first_run() -> None:
    trainer = th.Trainer(max_epochs=3, accelerator="cpu", logger=False)
    for way in WAYS.values():
        assert way(trainer).max_epochs == 3
