"""A module that logs what it is told to, and a logger that keeps every record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader
from trainer_models import QUIET, regression

import thunderhead as th
from thunderhead.loggers import Logger

Values = dict[str, float]


class Records(Logger):
    """Keeps every record: ``(step, values)``."""

    name = "records"
    version = 0

    def __init__(self) -> None:
        self.seen: list[tuple[int | None, Values]] = []

    def log_metrics(self, metrics: Values, step: int | None = None) -> None:
        """Keep it."""
        self.seen.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do."""


class Module(th.LightningModule):
    """Logs 1, 2, 3 in training batches of 8, 8 and 4 samples; 10 and 20 in validation batches of 12 and 8."""

    def __init__(
        self,
        train: Callable[[Module, float], None] = lambda module, value: None,
        val: Callable[[Module, float], None] = lambda module, value: None,
        loaders: int = 1,
    ) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.train_log, self.val_log, self.loaders = train, val, loaders

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Log, and return a loss."""
        self.train_log(self, float(batch_idx + 1))
        return self.layer(batch[0]).mean()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log."""
        self.val_log(self, 10.0 * (batch_idx + 1) + dataloader_idx)

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        """SGD."""
        return torch.optim.SGD(self.parameters(), 0.01)

    def train_dataloader(self) -> Any:
        """Batches of 8, 8 and 4."""
        return DataLoader(regression(20), batch_size=8)

    def val_dataloader(self) -> Any:
        """Batches of 12 and 8."""
        loaders = [DataLoader(regression(20), batch_size=12) for _ in range(self.loaders)]
        return loaders[0] if self.loaders == 1 else loaders

    test_dataloader = val_dataloader


def fit(
    module: Module, *callbacks: th.Callback, **arguments: Any
) -> tuple[th.Trainer, list[tuple[int | None, Values]]]:
    """Train for one epoch, recording every step unless told otherwise."""
    records = Records()
    options = {**QUIET, "max_epochs": 1, "log_every_n_steps": 1, "num_sanity_val_steps": 0, **arguments}
    trainer = th.Trainer(**{**options, "logger": records}, callbacks=list(callbacks))
    trainer.fit(module)
    return trainer, records.seen


def plain(metrics: Any) -> Values:
    """Metrics as numbers."""
    return {name: float(value) for name, value in metrics.items()}
