"""The records of a run made by hand: what rooms need, and no Trainer."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch

import thunderhead as th
from thunderhead.core.ending import Stop
from thunderhead.core.state import RunningStage, TrainerFn, TrainerState, TrainerStatus
from thunderhead.core.steps import Steps
from thunderhead.distributed.base import SingleDeviceStrategy
from thunderhead.distributed.environment import ProcessRank
from thunderhead.hooks.table import HookTable
from thunderhead.precision import Precision
from thunderhead.results.metrics import Metrics
from thunderhead.results.sink import Sink
from thunderhead.run.optimizers import make_optimizers
from thunderhead.run.options import effective, read_options
from thunderhead.run.run import Run
from thunderhead.run.training import Training, new_training

DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(th.Trainer).parameters.items() if name != "self"
}


class Records:
    """A logger that keeps what it is sent."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Keep it."""
        self.seen.append((step, dict(metrics)))

    def save(self) -> None:
        """Everything is kept already."""


class Plain(Steps):
    """One weight; the loss is weight × mean of the batch, so SGD with a rate of 1 subtracts the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.sink: Sink | None = None

    def training_step(self, batch: Any) -> Any:
        """The loss, logged."""
        assert self.sink is not None
        loss = (self.weight * batch.mean()).sum()
        call = (False, None, None, None, "mean", False, False, None, True, None, False)
        self.sink.log("loss", loss, len(batch), call)
        return loss

    def configure_optimizers(self) -> Any:
        """SGD with a rate of 1."""
        return torch.optim.SGD(self.parameters(), 1.0)


def run_of(module: Plain, *loggers: Records, loaders: Any = None, **given: Any) -> Run:
    """A fit of this module on one device."""
    strategy = SingleDeviceStrategy().bind(torch.device("cpu"), ProcessRank())
    options = read_options(effective({**DEFAULTS, "log_every_n_steps": 1, **given}))
    sink = Sink(strategy, loggers, module)
    module.sink = sink
    every = options.log_every_n_steps or math.inf
    return Run(
        caller=None,
        state=TrainerState(TrainerStatus.RUNNING, TrainerFn.FITTING, RunningStage.TRAINING),
        options=options,
        module=module,
        datamodule=None,
        given={"train": loaders},
        strategy=strategy,
        precision=Precision(),
        loggers=list(loggers),
        callbacks=[],
        hooks=HookTable(None, [], module, sink),
        sink=sink,
        metrics=Metrics(sink, strategy, loggers, module, every_n_steps=every),
        stop=Stop(),
    )


def training_of(run: Run) -> Training:
    """A fit that is about to begin."""
    training = new_training(host=True)
    run.hooks.resolve()
    training.optimizers = make_optimizers(run, training.position)
    return training
