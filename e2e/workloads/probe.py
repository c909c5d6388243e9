"""A training that shows every disturbance: what is repeated, skipped or drawn differently changes its bits.

Several layers give DDP more than one bucket, batch norm gives every rank buffers of its own, dropout draws from each
rank's random state, momentum carries history. The callback `Losses` keeps the loss of every rank at every step in its
state, so that the last committed checkpoint tells the whole story. Faults strike at a given step, rank and attempt.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thunderhead as th

FEATURES = 32
CLASSES = 8


def attempt() -> int:
    """The attempt that this process belongs to; 0 outside of a job."""
    return int(os.environ.get("THUNDERHEAD_ATTEMPT", "0"))


def gathered(value: Tensor) -> list[float]:
    """A scalar of every rank, by rank."""
    if not dist.is_initialized():
        return [value.item()]
    every = [torch.empty_like(value) for _ in range(dist.get_world_size())]
    dist.all_gather(every, value)
    return [one.item() for one in every]


def summed(value: float) -> float:
    """The sum over all ranks, by an all-reduce."""
    total = torch.tensor(value)
    if dist.is_initialized():
        dist.all_reduce(total)
    return total.item()


def strike(kind: str) -> None:
    """Brings this process down in one of the ways a training process goes down."""
    if kind == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "raise":
        raise ArithmeticError("the probe was told to fail")
    elif kind == "exit":
        sys.exit(42)
    elif kind == "memory":
        hoard = []
        while True:
            hoard.append(b"x" * (32 << 20))
    raise ValueError(f"fault kind {kind!r} is none of sigkill, raise, exit, memory")


class Probe(th.LightningModule):
    """A classifier of `depth` hidden layers.

    Args:
        width: units of each hidden layer.
        depth: hidden layers.
        lr: learning rate.
        step_seconds: rest in every training step, so that a test can strike in mid-epoch.
        ballast_mb: MiB of untrained parameters, to make a checkpoint large.
        faults: each a mapping with `kind` (see `strike`), `step` (optimizer steps done), `rank`, and `attempts`
            (absent: every one).
    """

    def __init__(
        self,
        width: int = 384,
        depth: int = 4,
        lr: float = 0.01,
        step_seconds: float = 0.0,
        ballast_mb: int = 0,
        faults: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__()
        sizes = [FEATURES] + [width] * depth
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(0.2)]
        self.body = nn.Sequential(*layers, nn.Linear(width, CLASSES))
        self.loss = nn.CrossEntropyLoss()
        if ballast_mb:
            self.ballast = nn.Parameter(torch.zeros(ballast_mb << 18), requires_grad=False)
        self.lr = lr
        self.step_seconds = step_seconds
        self.faults = list(faults)
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, CLASSES) of features (batch, FEATURES)."""
        logits: Tensor = self.body(x)
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(trained, lr=self.lr, momentum=0.9)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        self._strike_if_due()
        time.sleep(self.step_seconds)
        x, y = batch
        loss: Tensor = self.loss(self(x), y)
        self.losses = gathered(loss.detach())
        self.log("train_loss", loss, prog_bar=True)
        self.log("rank_sum", summed(float(self.global_rank)))
        self.log("world_size", summed(1.0))
        return loss

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", self.loss(self(x), y), sync_dist=True)

    def _strike_if_due(self) -> None:
        for fault in self.faults:
            if attempt() not in fault.get("attempts", [attempt()]):
                continue
            if self.global_step == fault["step"] and self.global_rank == fault["rank"]:
                strike(fault["kind"])


class Points(th.LightningDataModule):
    """Random points, labelled by a fixed random projection.

    Args:
        samples: training samples of the whole job.
        batch_size: samples of one batch on one rank.
    """

    def __init__(self, samples: int = 576, batch_size: int = 4) -> None:
        super().__init__()
        self.batch_size = batch_size
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(samples + 96, FEATURES, generator=generator)
        y = (x @ torch.randn(FEATURES, CLASSES, generator=generator)).argmax(dim=1)
        self.train = TensorDataset(x[:samples], y[:samples])
        self.val = TensorDataset(x[samples:], y[samples:])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, batch_size=self.batch_size)


class Losses(th.Callback):
    """Keeps the loss of every rank at every step, exactly, and prints one line per step on rank 0.

    The lines are how a test on the outside sees training go on: `probe step=17 attempt=1 loss=0x1.8p+0`.
    """

    def __init__(self) -> None:
        self.by_step: dict[int, list[str]] = {}

    def on_train_start(self, trainer: th.Trainer, pl_module: th.LightningModule) -> None:
        rank, world, host = trainer.global_rank, trainer.world_size, socket.gethostname()
        print(f"probe rank={rank} world={world} attempt={attempt()} host={host}", flush=True)

    def on_train_batch_end(
        self, trainer: th.Trainer, pl_module: th.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Probe), "Losses belongs to a Probe"
        step = trainer.global_step
        self.by_step[step] = [loss.hex() for loss in pl_module.losses]
        if trainer.is_global_zero:
            print(f"probe step={step} attempt={attempt()} loss={self.by_step[step][0]}", flush=True)

    def state_dict(self) -> dict[str, Any]:
        return {"by_step": dict(self.by_step)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.by_step = dict(state_dict["by_step"])
