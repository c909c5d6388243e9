"""The same small models trained by a raw loop, by Thunderhead and by Lightning.

Every side trains the module that :func:`module_class` makes from its own base class, on the same batches in memory, so
that what differs is the framework. The clock is the CPU time of the process between two batches of one run: start-up,
the first batches and the end are outside.
"""

from __future__ import annotations

import importlib
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Workload:
    """What is trained.

    Attributes:
        null: nothing is computed; the step is the framework alone.
        width: of the hidden layers; 0 for the null model.
        depth: number of hidden layers.
        batch_size: samples a batch.
    """

    name: str
    null: bool
    width: int = 0
    depth: int = 0
    batch_size: int = 16


NULL = Workload("null model", null=True)
TINY = Workload("tiny MLP", null=False, width=32, depth=1)
LARGER = Workload("step of 5 ms and more", null=False, width=512, depth=6, batch_size=128)


class NullOptimizer(torch.optim.SGD):
    """Evaluates the closure, changes nothing."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]  # torch's overloads
        return closure() if closure is not None else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing to reset."""


def network(work: Workload) -> nn.Module:
    """A perceptron of the workload's size, alike on every side."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    size = 32
    for _ in range(max(work.depth, 1)):
        layers += [nn.Linear(size, work.width or 1), nn.ReLU()]
        size = work.width or 1
    return nn.Sequential(*layers, nn.Linear(size, 1))


def batches(work: Workload, count: int) -> list[tuple[Tensor, Tensor]]:
    """``count`` batches (x: [batch, 32], y: [batch, 1]) in memory."""
    torch.manual_seed(1)
    pool = [(torch.randn(work.batch_size, 32), torch.randn(work.batch_size, 1)) for _ in range(8)]
    return [pool[i % len(pool)] for i in range(count)]


def module_class(base: type[Any], work: Workload, logged: int) -> type[Any]:
    """A module of ``base`` (either framework's LightningModule) that logs ``logged`` values on step and epoch."""
    names = [f"value_{i}" for i in range(logged)]

    class Module(base):  # type: ignore[misc]  # the base is an argument
        def __init__(self) -> None:
            super().__init__()
            self.net = network(work)
            self.cached = torch.zeros((), requires_grad=True)
            self.value = torch.tensor(0.5)

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            loss = self.cached if work.null else nn.functional.mse_loss(self.net(batch[0]), batch[1])
            for name in names:
                self.log(name, self.value, on_step=True, on_epoch=True, batch_size=work.batch_size)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            kind = NullOptimizer if work.null else torch.optim.SGD
            return kind(self.parameters(), lr=1e-4, momentum=0.0 if work.null else 0.9)

        if work.null:

            def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
                """Nothing to differentiate."""

    return Module


class Clock:
    """Reads the process's CPU time at the first batch after the warm-up and at the last one."""

    def __init__(self, steps: int) -> None:
        self._last = steps - 1
        self._began = 0.0
        self.seconds_per_step = float("nan")

    def tick(self, index: int) -> None:
        """Called as batch ``index`` begins."""
        if index == WARM_UP:
            self._began = time.process_time()
        elif index == self._last:
            self.seconds_per_step = (time.process_time() - self._began) / (self._last - WARM_UP)


class Ticking:
    """Batches that tell the clock when they are asked for; the same cost on every side."""

    def __init__(self, items: Sequence[Any], clock: Clock) -> None:
        self._items = items
        self._clock = clock

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        tick = self._clock.tick
        for index, item in enumerate(self._items):
            tick(index)
            yield item


def raw(work: Workload, steps: int) -> float:
    """Seconds of CPU a step takes without any framework."""
    net, clock = network(work), Clock(steps)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    cached = torch.zeros((), requires_grad=True)
    for x, y in Ticking(batches(work, steps), clock):
        if work.null:
            _ = cached
            continue
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
    return clock.seconds_per_step


def framework(package: str, work: Workload, steps: int, *, logged: int, everything: bool) -> float:
    """Seconds of CPU a step takes in ``package``; ``everything``: logger, checkpoint, early stopping, LR monitor."""
    api = importlib.import_module(package)
    clock = Clock(steps)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning").setLevel(logging.ERROR)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        logging.getLogger("thunderhead").setLevel(logging.ERROR)
        trainer = api.Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=1,
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            **(_everything(api, folder) if everything else {"logger": False, "enable_checkpointing": False}),
        )
        module = module_class(api.LightningModule, work, logged)()
        trainer.fit(module, Ticking(batches(work, steps), clock))
    return clock.seconds_per_step


def _everything(api: Any, folder: str) -> dict[str, Any]:
    callbacks = importlib.import_module(f"{api.__name__}.callbacks")
    loggers = importlib.import_module(f"{api.__name__}.loggers")
    return {
        "logger": loggers.CSVLogger(folder),
        "callbacks": [
            callbacks.ModelCheckpoint(folder, monitor="value_0_epoch", save_top_k=1),
            callbacks.EarlyStopping("value_0_epoch", patience=100),
            callbacks.LearningRateMonitor("step"),
        ],
    }
