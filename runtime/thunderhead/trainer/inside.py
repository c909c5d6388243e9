"""A run inside a run: a fit over a copy of what the running one carries, which leaves no trace in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from thunderhead.core.ending import Stop
from thunderhead.core.hooks import CallbackLike
from thunderhead.core.state import RunningStage, TrainerFn, TrainerState, TrainerStatus
from thunderhead.data.combined import CombinedLoader
from thunderhead.distributed.base import Strategy
from thunderhead.hooks.table import HookTable
from thunderhead.loops.evaluate import EvaluationLoop
from thunderhead.loops.fit import FitLoop
from thunderhead.results.metrics import Metrics
from thunderhead.results.sink import Sink
from thunderhead.rng import isolate_rng
from thunderhead.run.evaluation import evaluation
from thunderhead.run.optimizers import Optimizers, make_optimizers
from thunderhead.run.run import Run
from thunderhead.run.training import following
from thunderhead.trainer.properties import TrainerProperties


@contextmanager
def fit_inside(
    trainer: TrainerProperties, *, callbacks: Sequence[CallbackLike] = (), parked: bool = False, **changes: object
) -> Iterator[FitLoop]:
    """A second fit, ready to ``run``, over a copy of the module, its optimizers and schedulers.

    It has no callbacks but those given, no loggers and no validation, and is in no job. The Trainer shows it while the
    context lasts: ``trainer.lightning_module`` is the copy. Loaders are asked for again; those that were passed are
    read again, and their generators put back.

    Args:
        trainer: in a fit.
        callbacks: that look on.
        parked: the outer module leaves the device meanwhile, so that there is room.
        **changes: options that differ, such as ``max_steps``; counted from where the outer run stands.
    """
    outer, training, loop = trainer._run, trainer._training, trainer._fit_loop
    assert outer is not None, "there is a fit to be inside of"
    with isolate_rng(), _generators_put_back(outer.given.get("train")):
        run = _copied(trainer, outer, callbacks, changes)
        host = run.strategy.root_device.type == "cpu"
        inner = following(training, host=host, reload_every=run.options.reload_dataloaders_every_n_epochs)
        trainer._run, trainer._training = run, inner
        try:
            run.module.trainer = trainer  # type: ignore[assignment]  # the face of users, by its base
            run.strategy.wrap(run.module)
            run.hooks.resolve()
            inner.optimizers = make_optimizers(run, inner.position)
            _take_states(run.strategy, inner.optimizers, training.optimizers)
            trainer._fit_loop = FitLoop(run, inner, EvaluationLoop(run, inner, inner.validation))
            with torch.enable_grad(), _parked(outer, wanted=parked):
                yield trainer._fit_loop
        finally:
            if trainer._fit_loop is not None and trainer._fit_loop is not loop:
                trainer._fit_loop.let_go()
            trainer._run, trainer._training, trainer._fit_loop = outer, training, loop


@contextmanager
def evaluate_inside(trainer: TrainerProperties, **changes: object) -> Iterator[EvaluationLoop]:
    """A second evaluation of the running kind, ready to ``run``, over a copy of the module; see ``fit_inside``.

    Args:
        trainer: in ``validate``, ``test`` or ``predict``.
        **changes: options that differ.
    """
    outer = trainer._run
    assert outer is not None, "there is an evaluation to be inside of"
    fn, carried = outer.fn, trainer._evaluations[outer.fn]
    with isolate_rng(), _generators_put_back(next(iter(outer.given.values()), None)):
        run = _copied(trainer, outer, (), changes)
        run.state.fn, run.state.stage = fn, outer.state.stage
        inner = evaluation(carried.kind)
        loop = EvaluationLoop(run, trainer._training, inner)
        trainer._run, trainer._evaluations[fn] = run, inner
        try:
            run.module.trainer = trainer  # type: ignore[assignment]  # the face of users, by its base
            run.hooks.resolve()
            with _parked(outer, wanted=True):
                yield loop
        finally:
            loop.let_go()
            trainer._run, trainer._evaluations[fn] = outer, carried


@contextmanager
def _parked(outer: Run, *, wanted: bool) -> Iterator[None]:
    """The module of the outer run is in the host's memory meanwhile."""
    device = outer.strategy.root_device
    if not wanted or device.type == "cpu":
        yield
        return
    # What is moved under inference mode could not be trained afterwards.
    with torch.inference_mode(False):
        outer.module.to("cpu")
    try:
        yield
    finally:
        with torch.inference_mode(False):
            outer.module.to(device)


def _copied(trainer: TrainerProperties, outer: Run, callbacks: Sequence[CallbackLike], changes: dict[str, Any]) -> Run:
    module, precision = copy.deepcopy((outer.module, outer.precision))
    strategy = copy.copy(outer.strategy)
    strategy.precision_plugin, strategy.model = precision, None
    sink = Sink(strategy, (), module)
    return replace(
        outer,
        state=TrainerState(TrainerStatus.RUNNING, TrainerFn.FITTING, RunningStage.TRAINING),
        options=replace(outer.options, **changes),
        module=module,
        strategy=strategy,
        precision=precision,
        loggers=[],
        callbacks=list(callbacks),
        hooks=HookTable(trainer, callbacks, module, sink),
        sink=sink,
        profiler=None,
        metrics=Metrics(sink, strategy, [], module),
        stop=Stop(),
        in_job=False,
        control=None,
    )


def _take_states(strategy: Strategy, made: Optimizers, outer: Optimizers) -> None:
    for optimizer, before in zip(made.plain, outer.plain, strict=True):
        strategy.load_optimizer_state(optimizer, copy.deepcopy(strategy.optimizer_state(before)))
    for config, plan in zip(made.configs, outer.configs, strict=True):
        config.scheduler.load_state_dict(copy.deepcopy(plan.scheduler.state_dict()))


@contextmanager
def _generators_put_back(loaders: Iterable[Any] | None) -> Iterator[None]:
    """Of loaders that were passed: torch's draw from generators of their own, where they have one."""
    flat = [] if loaders is None else CombinedLoader(loaders).flattened
    found = [g for loader in flat if isinstance(loader, DataLoader) for g in _generators_of(loader)]
    states = [generator.get_state() for generator in found]
    try:
        yield
    finally:
        for generator, state in zip(found, states, strict=True):
            generator.set_state(state)


def _generators_of(loader: DataLoader[Any]) -> list[torch.Generator]:
    owners = (loader, loader.sampler, getattr(loader.batch_sampler, "sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    return [generator for generator in found if isinstance(generator, torch.Generator)]
