"""Source of the classes that both command lines make: module, datamodule and what they are given."""

from __future__ import annotations

from typing import Final

SOURCE: Final = '''
import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import {package} as L
from {package}.cli import LightningCLI, LRSchedulerCallable, OptimizerCallable


class Norm(enum.Enum):
    batch = 1
    layer = 2


@dataclass
class Schedule:
    warmup: int = 3
    decay: float = 0.5
    name: str | None = None


class Encoder(nn.Module):
    def __init__(self, width: int = 2, activation: Callable[[], nn.Module] = nn.ReLU):
        super().__init__()
        self.width, self.activation = width, activation()


class WideEncoder(Encoder):
    def __init__(self, depth: int = 1, norm: Norm = Norm.batch, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.norm = depth, norm


class Other:
    pass


class Model(L.LightningModule):
    def __init__(
        self,
        lr: float = 0.1,
        size: int = 2,
        name: str = "model",
        flag: bool = False,
        maybe: int | None = None,
        either: int | str = 1,
        word: Literal["small", "large"] = "small",
        norm: Norm = Norm.layer,
        sizes: list[int] | None = None,
        table: dict[str, float] | None = None,
        pair: tuple[int, str] = (1, "a"),
        schedule: Schedule = Schedule(),
        encoder: Encoder | None = None,
        encoders: list[Encoder] | None = None,
        anything: Any = None,
        untyped=None,
        where: Path | None = None,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(2, 2)
        self.encoder, self.given = encoder, dict(lr=lr, size=size, pair=pair, norm=norm, schedule=schedule)


class Wider(Model):
    def __init__(self, factor: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor


class Injected(L.LightningModule):
    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable = torch.optim.lr_scheduler.ConstantLR,
        needed: int = 1,
    ):
        super().__init__()
        self.save_hyperparameters("needed")
        self.layer = nn.Linear(2, 2)
        self.makes = optimizer, scheduler

    def configure_optimizers(self):
        optimizer = self.makes[0](self.parameters())
        return [optimizer], [self.makes[1](optimizer)]


class Required(L.LightningModule):
    def __init__(self, size: int, lr: float = 0.1):
        super().__init__()
        self.layer = nn.Linear(size, 1)


class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 4, samples: int = 8, split: tuple[float, float] = (0.8, 0.2)):
        super().__init__()
        self.batch_size, self.samples, self.split = batch_size, samples, split


class Small(Data):
    def __init__(self, shrink: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        self.shrink = shrink


class Plain(LightningCLI):
    """Reads and makes; nothing runs."""

    ran = None

    def _record(self, name, kwargs):
        self.ran = [name, sorted(key for key, value in kwargs.items() if value is not None)]

    def fit(self, model, **kwargs):
        self._record("fit", kwargs)

    def validate(self, model, **kwargs):
        self._record("validate", kwargs)

    def test(self, model, **kwargs):
        self._record("test", kwargs)

    def predict(self, model, **kwargs):
        self._record("predict", kwargs)


class LinkedWhenRead(Plain):
    def add_arguments_to_parser(self, parser):
        parser.add_argument("--times", type=int, default=1)
        parser.link_arguments("data.batch_size", "model.size", compute_fn=lambda size: size * 10)
        parser.link_arguments("times", "trainer.min_epochs")


class LinkedWhenMade(Plain):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.samples", "model.size", apply_on="instantiate")
        parser.add_lightning_class_args(L.callbacks.EarlyStopping, "stopping")
        parser.set_defaults({{"stopping.monitor": "val_loss", "stopping.patience": 5}})


class OneOptimizer(Plain):
    def add_arguments_to_parser(self, parser):
        parser.add_optimizer_args(torch.optim.SGD)
        parser.add_lr_scheduler_args(torch.optim.lr_scheduler.ExponentialLR)
'''
