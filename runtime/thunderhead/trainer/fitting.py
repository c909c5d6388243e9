"""The part of an entry point that only fit has: from a module on its device to the last epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from thunderhead.checkpoint import content
from thunderhead.checkpoint.of_job import restore_local
from thunderhead.core.hparams import merged
from thunderhead.core.position import BETWEEN_EPOCHS, Next
from thunderhead.core.state import RunningStage
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.overriding import is_overridden
from thunderhead.job.link import Restored
from thunderhead.job.parts import LOCAL
from thunderhead.layer_sync import LayerSync
from thunderhead.loggers.logger import Logger
from thunderhead.loops.evaluate import EvaluationLoop
from thunderhead.loops.fit import FitLoop
from thunderhead.loops.signature import refuse_removed
from thunderhead.rng import isolate_rng
from thunderhead.run.control import control_of_ranks, sigterm_stops
from thunderhead.run.loaders import has_loader
from thunderhead.run.optimizers import make_optimizers
from thunderhead.run.run import Run
from thunderhead.run.stopping import can_stop_early
from thunderhead.run.training import Training
from thunderhead.trainer.resuming import put_gradients_back, resume_training
from thunderhead.warning import say, warn


def fit(
    run: Run,
    training: Training,
    loaded: dict[str, Any] | None,
    restored: Restored | None,
    *,
    path: str | None,
    show: Callable[[FitLoop], None],
) -> None:
    """Train, from a checkpoint's content where there is one.

    Args:
        run: the entry point.
        training: what it carries.
        loaded: content of the checkpoint.
        restored: the same, where it is a job's.
        path: where it was read from.
        show: is given the loop, which users may ask from then on.
    """
    module = run.module
    training.optimizers = make_optimizers(run, training.position)
    validation = EvaluationLoop(run, training, training.validation)
    loop = FitLoop(run, training, validation)
    show(loop)
    run.hooks.call("on_fit_start")
    _log_hyperparameters(run)
    if loaded is not None:
        resume_training(run, training, loaded, path if restored is None else None)
    _begin_records(run, training, loaded, restored)
    if loaded is not None:
        # It may log, so loggers know first what of their records stands.
        loop.finish_epoch()
    if restored is not None:
        restore_local(run, training, restored)
    torch.set_grad_enabled(True)
    module.zero_grad()
    put_gradients_back(run, training)
    if run.control is None:
        run.control = control_of_ranks(run.stop, run.strategy, lambda: can_stop_early(run.options, training.position))
    try:
        with torch.autograd.set_detect_anomaly(run.options.detect_anomaly), sigterm_stops(run.stop, in_job=run.in_job):
            if restored is None and training.position.next in BETWEEN_EPOCHS:
                _sanity_check(run, training, validation)
            loop.run()
        if run.control is not None:
            run.control.finish(replace(training.position, next=Next.NOTHING))
    finally:
        loop.let_go()
        if run.control is not None:
            run.control.close()
    run.sink.close()
    run.strategy.teardown()


def _begin_records(run: Run, training: Training, loaded: dict[str, Any] | None, restored: Restored | None) -> None:
    """Tell loggers where training goes on, and how many of their records stand."""
    going_on = loaded is not None or training.position.batches > 0
    counts = _records_before(loaded, restored)
    for index, logger in enumerate(run.loggers):
        if isinstance(logger, Logger):
            count = counts[index] if len(counts) == len(run.loggers) else None
            logger._train_from(training.position.log_step if going_on else None, count)


def _records_before(loaded: dict[str, Any] | None, restored: Restored | None) -> list[int | None]:
    """How many records each logger had by the checkpoint; none where it does not tell, as those of before."""
    own = restored.parts[LOCAL].tree if restored is not None else (loaded or {}).get(content.OWN_KEY) or {}
    found: list[int | None] = (own.get("counters") or {}).get("records") or []
    return found


def put_layers_back(run: Run, layer_sync: LayerSync | None) -> None:
    """However a fit ended, the module has the layers it came with."""
    if layer_sync is not None and run.strategy.world_size > 1 and run.fitting:
        layer_sync.revert(run.module)


def _log_hyperparameters(run: Run) -> None:
    if not run.loggers or not run.options.enable_autolog_hparams:
        return
    owners = (run.module, run.datamodule)
    hparams = merged([owner.hparams_initial for owner in owners if owner is not None and owner._log_hyperparams])
    for logger in run.loggers:
        if hparams:
            logger.log_hyperparams(hparams)
        logger.log_graph(run.module)
        logger.save()


def _sanity_check(run: Run, training: Training, loop: EvaluationLoop) -> None:
    """A few validation batches before training, so that a mistake there shows at once; leaves no trace."""
    batches = run.options.num_sanity_val_steps
    if not training.validation.possible or not batches:
        return
    with isolate_rng():
        before, counted = run.metrics.kept(), training.validation.counted()
        run.state.stage = RunningStage.SANITY_CHECKING
        run.hooks.call("on_sanity_check_start")
        loop.run(sanity_batches=batches)
        run.hooks.call("on_sanity_check_end")
        run.metrics.forget_since(before)
        training.validation.count_from(counted)
        run.state.stage = RunningStage.TRAINING


def check_fit(run: Run) -> None:
    """Refuse what cannot be trained, and say what will not be done.

    Raises:
        MisconfigurationException: arguments that contradict manual optimisation, or no training step.
        NotImplementedError: a hook that Lightning 2 no longer calls.
        RuntimeError: ``training_step`` wants ``optimizer_idx``, which nobody passes any more.
    """
    _tell_of_half_a_validation(run)
    options, module = run.options, run.module
    if not is_overridden("training_step", module):
        raise MisconfigurationException(f"{type(module).__name__} has no training_step; Trainer.fit needs one")
    if not is_overridden("configure_optimizers", module):
        raise MisconfigurationException(
            f"{type(module).__name__} has no configure_optimizers; return None from it to train without an optimizer"
        )
    refuse_removed(module)
    if module.automatic_optimization:
        return
    if options.gradient_clip_val:
        raise MisconfigurationException(
            f"gradient_clip_val={options.gradient_clip_val} with manual optimisation; call self.clip_gradients "
            "in training_step"
        )
    if options.accumulate_grad_batches != 1:
        raise MisconfigurationException(
            f"accumulate_grad_batches={options.accumulate_grad_batches} with manual optimisation; "
            "step the optimizer every so many batches in training_step"
        )


def _tell_of_half_a_validation(run: Run) -> None:
    """A loader without a step is a mistake; a step without a loader may be meant for ``Trainer.validate``."""
    module, datamodule = run.module, run.datamodule
    has_step = is_overridden("validation_step", module)
    data_given = has_loader(run, "val")
    if data_given and not has_step:
        given = "val_dataloaders" if run.given.get("val") is not None else "val_dataloader"
        warn(f"{type(module).__name__} has no validation_step, so {given} is not used")
    elif has_step and not data_given and run.options.limit_val_batches != 0:
        lacking = (
            "no val_dataloaders were passed"
            if datamodule is None
            else (f"{type(datamodule).__name__} has no val_dataloader")
        )
        say(f"validation_step of {type(module).__name__} is not called: {lacking}")
