"""A module of one weight whose gradient is the mean of its batch: what training did to it can be added up by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset
from trainer_models import QUIET

import thunderhead as th


def numbers(*values: float, batch_size: int = 1) -> DataLoader[Any]:
    """A loader of these numbers, in order."""
    return DataLoader(TensorDataset(torch.tensor([float(value) for value in values])), batch_size=batch_size)


class Line(th.LightningModule):
    """Loss: weight × mean of the batch. SGD with a rate of 1 subtracts the mean of each batch.

    Attributes:
        fed: the first number of each training batch.
        validated: optimizer steps done when each validation batch came.
    """

    def __init__(self, configure: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.configure = configure
        self.fed: list[float] = []
        self.validated: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss."""
        self.fed.append(batch[0][0].item())
        return (self.weight * batch[0].mean()).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Note when."""
        self.validated.append(self.global_step)

    def configure_optimizers(self) -> Any:
        """SGD with a rate of 1, unless told otherwise."""
        return self.configure(self) if self.configure else torch.optim.SGD(self.parameters(), 1.0)


def trainer(*callbacks: th.Callback, **arguments: Any) -> th.Trainer:
    """A quiet trainer of one epoch."""
    return th.Trainer(**{**QUIET, "max_epochs": 1, **arguments}, callbacks=list(callbacks))


def fit(module: Line, *values: float, batch_size: int = 1, **arguments: Any) -> th.Trainer:
    """Train on these numbers."""
    made = trainer(**arguments)
    made.fit(module, numbers(*values, batch_size=batch_size))
    return made


TEN = list(range(1, 11))


def run(module: Line | None = None, train: Any = None, val: Any = None, **arguments: Any) -> tuple[Line, th.Trainer]:
    """Fit on ten batches and validate on four, without a sanity check unless asked for."""
    module = Line() if module is None else module
    made = trainer(**{"num_sanity_val_steps": 0, **arguments})
    made.fit(module, numbers(*TEN) if train is None else train, numbers(*range(4)) if val is None else val)
    return module, made
