"""One entry point: who takes part in it, and how it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from thunderhead.core.data_hooks import DataModule
from thunderhead.core.ending import Stop
from thunderhead.core.hooks import CallbackLike
from thunderhead.core.state import TrainerFn, TrainerState
from thunderhead.core.steps import Steps
from thunderhead.distributed.base import Strategy
from thunderhead.hooks.table import HookTable
from thunderhead.precision import Precision
from thunderhead.profilers.profiler import Profiler
from thunderhead.profilers.timed import timed
from thunderhead.results.metrics import Metrics
from thunderhead.results.sink import Sink
from thunderhead.run.control import Control
from thunderhead.run.options import Options


@dataclass(slots=True)
class Run:
    """Made anew for each entry point and thrown away after it, so that nothing has to be reset.

    Attributes:
        caller: what hooks of callbacks get as their first argument: the Trainer.
        state: entry point, stage and status.
        options: what the Trainer's arguments mean; users may change them while it runs.
        module: what is run.
        datamodule: gives the loaders, where there is one.
        given: loaders that the caller passed, by stage: train, val, test, predict.
        strategy: devices and processes.
        precision: number formats.
        loggers: where records go; the list may change while it runs.
        callbacks: in the order in which they are called; the list may change while it runs.
        hooks: which hooks there are.
        sink: where ``self.log`` drops its values.
        metrics: the newest value of every name.
        stop: whether it is to end early.
        in_job: an agent started this process, and keeps its checkpoints.
        profiler: what measures it; None for nothing.
        control: who may stop it, and when all ranks do so together; None for a single process outside of a job.
    """

    caller: Any
    state: TrainerState
    options: Options
    module: Steps
    datamodule: DataModule | None
    given: Mapping[str, Any]
    strategy: Strategy
    precision: Precision
    loggers: list[Any]
    callbacks: list[CallbackLike]
    hooks: HookTable
    sink: Sink
    metrics: Metrics
    stop: Stop
    in_job: bool = False
    profiler: Profiler | None = None
    control: Control | None = None

    def call_back(self, callbacks: list[CallbackLike]) -> None:
        """Take these in the place of those before, from the next time on that hooks are looked up."""
        self.callbacks = self.hooks.callbacks = callbacks

    def record_to(self, loggers: list[Any]) -> None:
        """Take these in the place of those before."""
        self.loggers = self.sink.loggers = self.metrics.loggers = loggers

    def timed(self, action: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, each call of which is an action of the profiler; itself where nothing is profiled."""
        return timed(self.profiler, action, function)

    def action_of(self, owner: object, method: str) -> str:
        """What Lightning calls it in a profile, so that its reports and ours can be laid side by side."""
        if owner is self.strategy:
            name = type(owner).__name__
            return f"[Strategy]{'SingleDeviceStrategy' if name == 'Strategy' else name}.{method}"
        kind = "LightningModule" if owner is self.module else "LightningDataModule"
        return f"[{kind}]{type(owner).__name__}.{method}"

    @property
    def fn(self) -> TrainerFn:
        """The entry point."""
        assert self.state.fn is not None, "a run is one of an entry point"
        return self.state.fn

    @property
    def fitting(self) -> bool:
        """Whether the entry point is fit."""
        return self.state.fn is TrainerFn.FITTING
