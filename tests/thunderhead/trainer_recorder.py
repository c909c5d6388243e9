"""Modules, datamodules and callbacks that write down every hook called on them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader
from trainer_models import regression

import thunderhead as th
from thunderhead.callbacks import Callback, Checkpoint, EarlyStopping

_NO_HOOKS = ("state_key", "inactive_hooks", "acts_last", "acts_last_in_batches")
CALLBACK_HOOKS = [name for name in vars(Callback) if not name.startswith("_") and name not in _NO_HOOKS]
DATA_HOOKS = ["prepare_data", "setup", "teardown", "on_exception", "state_dict", "load_state_dict"]
TRANSFER_HOOKS = ["on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"]
LOADER_HOOKS = ["train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"]
MODULE_HOOKS = [
    *(name for name in CALLBACK_HOOKS if "sanity" not in name and name not in ("on_exception",)),
    *TRANSFER_HOOKS,
    *LOADER_HOOKS,
    "prepare_data",
    "configure_callbacks",
    "configure_model",
    "configure_optimizers",
    "zero_grad",
    "training_step",
    "validation_step",
    "test_step",
    "predict_step",
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "configure_gradient_clipping",
    "clip_gradients",
    "lr_scheduler_step",
    "on_validation_model_zero_grad",
    "on_validation_model_eval",
    "on_test_model_eval",
    "on_predict_model_eval",
]


def recording(base: type, prefix: str, hooks: list[str], log: list[str]) -> type:
    """A subclass of ``base`` that appends ``<prefix>.<hook>`` to ``log`` and does what ``base`` does."""
    made = type(f"Recording{base.__name__}", (base,), {})

    def hook(name: str) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            log.append(f"{prefix}.{name}")
            return getattr(super(made, self), name)(*args, **kwargs)

        return call

    for name in hooks:
        setattr(made, name, hook(name))
    return made


class Plain(th.LightningModule):
    """One linear layer; three batches of training data, two of everything else."""

    def __init__(
        self,
        *,
        interval: str = "epoch",
        plateau: bool = False,
        loaders: int = 1,
        manual: bool = False,
        scheduled: bool = True,
    ) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.interval, self.plateau, self.loaders = interval, plateau, loaders
        self.scheduled = scheduled
        self.automatic_optimization = not manual

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Log and return the loss; step in manual optimisation."""
        loss = (self.layer(batch[0]) - batch[1]).square().mean()
        self.log("train_loss", loss)
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log the loss."""
        self.log("val_loss", (self.layer(batch[0]) - batch[1]).square().mean())

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log something."""
        self.log("test_loss", 1.0)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Twice the input."""
        return 2 * batch[0]

    def configure_optimizers(self) -> Any:
        """SGD with one scheduler, or none."""
        optimizer = torch.optim.SGD(self.parameters(), 0.01)
        if not self.scheduled:
            return optimizer
        scheduler: Any = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        if self.plateau:
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        config = {"scheduler": scheduler, "interval": self.interval, "monitor": "train_loss"}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def train_dataloader(self) -> Any:
        """Three batches."""
        return DataLoader(regression(24), batch_size=8)

    def val_dataloader(self) -> Any:
        """Two batches, from each of the loaders."""
        loaders = [DataLoader(regression(24), batch_size=12) for _ in range(self.loaders)]
        return loaders[0] if self.loaders == 1 else loaders

    def test_dataloader(self) -> Any:
        """Two batches."""
        return DataLoader(regression(24), batch_size=12)

    def predict_dataloader(self) -> Any:
        """Two batches."""
        return DataLoader(regression(24), batch_size=12)


class PlainData(th.LightningDataModule):
    """The same data, from a datamodule with state."""

    train_dataloader = Plain.train_dataloader
    test_dataloader = Plain.test_dataloader
    predict_dataloader = Plain.predict_dataloader

    def val_dataloader(self) -> Any:
        """Two batches."""
        return DataLoader(regression(24), batch_size=12)

    def state_dict(self) -> dict[str, Any]:
        """Something to keep."""
        return {"kept": 1}


class Watching(Checkpoint):
    """A callback that saves, in name."""


def recorded_module(log: list[str], without: tuple[str, ...] = (), **options: Any) -> th.LightningModule:
    """A module that records all hooks but those in ``without``."""
    hooks = [name for name in MODULE_HOOKS if name not in without]
    module: th.LightningModule = recording(Plain, "m", hooks, log)(**options)
    return module


def recorded_callbacks(log: list[str], *, monitors: bool = False) -> list[Callback]:
    """A callback that records all hooks; with ``monitors``, a saving and a stopping one before it."""
    found = [recording(Callback, "cb", CALLBACK_HOOKS, log)()]
    if monitors:
        saving = recording(Watching, "save", ["on_fit_start", "on_train_epoch_end", "on_validation_end"], log)()
        stopping = recording(EarlyStopping, "stop", ["on_train_epoch_end", "on_validation_end"], log)("val_loss")
        found = [saving, stopping, *found]
    return found


def recorded_data(log: list[str]) -> th.LightningDataModule:
    """A datamodule that records all hooks."""
    data: th.LightningDataModule = recording(PlainData, "dm", [*DATA_HOOKS, *TRANSFER_HOOKS, *LOADER_HOOKS], log)()
    return data
