"""What the command lines of these tests are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

import thunderhead as th
from thunderhead.cli import LRSchedulerCallable, OptimizerCallable

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": 1,
    "log_every_n_steps": 1,
}


class Encoder(nn.Module):
    """Part of a model."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        """Of a batch."""
        return self.linear(x)


class WideEncoder(Encoder):
    """Another one."""

    def __init__(self, width: int = 30, depth: int = 1) -> None:
        super().__init__(width)
        self.depth = depth


class CliModel(th.LightningModule):
    """A model with a part.

    Args:
        encoder: what comes first.
        lr: learning rate.
        size: a number that others may follow.
    """

    def __init__(self, encoder: Encoder | None = None, lr: float = 0.1, size: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = Encoder() if encoder is None else encoder
        self.head = nn.Linear(self.encoder.width, 1)
        self.lr, self.size = lr, size

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Something to make small."""
        loss = self.head(self.encoder(batch[0])).pow(2).mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The same."""
        self.log("val_loss", self.head(self.encoder(batch[0])).pow(2).mean())

    def configure_optimizers(self) -> Any:
        """Its own."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class OtherModel(CliModel):
    """Another of its kind."""

    def __init__(self, words: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = words


class BareModel(CliModel):
    """Without optimizers of its own."""

    configure_optimizers = th.LightningModule.configure_optimizers  # type: ignore[assignment]


class InjectedModel(CliModel):
    """Is given what makes its optimizer and scheduler."""

    def __init__(
        self,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(parameters, lr=0.5),
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        self.make, self.schedule = optimizer, scheduler

    def configure_optimizers(self) -> Any:
        """What was given."""
        made: Optimizer = self.make(self.parameters())
        return made if self.schedule is None else ([made], [self.schedule(made)])


class CliData(th.LightningDataModule):
    """Four numbers a sample.

    Args:
        samples: how many.
        batch_size: in a batch.
    """

    def __init__(self, samples: int = 8, batch_size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.samples, self.batch_size = samples, batch_size

    def _loader(self) -> Iterable[Any]:
        return DataLoader(TensorDataset(torch.ones(self.samples, 4)), batch_size=self.batch_size)

    def train_dataloader(self) -> Iterable[Any]:
        """All."""
        return self._loader()

    def val_dataloader(self) -> Iterable[Any]:
        """All."""
        return self._loader()
