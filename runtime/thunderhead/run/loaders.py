"""The loaders of a run: asked for, cut to this rank, and asked for again when they are due."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from thunderhead.core.position import BETWEEN_EPOCHS, Position
from thunderhead.data.loader_warnings import suggested_max_num_workers, warn_of_loaders
from thunderhead.data.source import (
    EvaluationData,
    Placement,
    TrainingData,
    request_loaders,
    without_shuffling,
)
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.overriding import is_overridden
from thunderhead.run.evaluation import Evaluation
from thunderhead.run.options import Options
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.warning import PossibleUserWarning, say_once, warn, warn_once

_ALLOW_EMPTY: Final = "allow_zero_length_dataloader_with_multiple_devices"
_STAGES: Final = {"validation": "val"}


def has_loader(run: Run, stage: str) -> bool:
    """Whether somebody gives loaders for ``stage``: who called, the datamodule or the module."""
    if run.given.get(stage) is not None:
        return True
    hook = f"{stage}_dataloader"
    return is_overridden(hook, run.datamodule) or is_overridden(hook, run.module)


def can_validate(run: Run) -> bool:
    """Whether fit validates: there is a validation step, and a loader that is not limited to nothing."""
    has_step = is_overridden("validation_step", run.module)
    return has_step and has_loader(run, "val") and run.options.limit_val_batches != 0


def load_training_data(run: Run, training: Training) -> TrainingData:
    """Ask for the training loaders; how many batches they have decides on when validation comes.

    Raises:
        MisconfigurationException: they do not fit the Trainer's arguments.
        RuntimeError: a rank has no batch while another has.
    """
    options, position = run.options, training.position
    loaders = _request(run, position, "train", training.loaded_in.next_load("train", position.epoch))
    if options.overfit_batches:
        loaders = without_shuffling(loaders, warn)
    _warn(run, loaders, "train")
    run.strategy.barrier("train_dataloader")
    data = TrainingData(loaders, options.limit_train_batches, _placement(run))
    owners = (run.module, run.datamodule)
    data.agree(run.strategy, allow_empty=any(getattr(owner, _ALLOW_EMPTY, False) for owner in owners))
    if data.num_batches == 0 and options.limit_train_batches != 0:
        warn("the training loader is empty, so nothing is trained; check its dataset, drop_last and batch_size")
    training.val_check_batch, training.counts_over_epochs = validation_interval(options, data)
    _warn_of_rare_records(run, data)
    return data


def reload_training_data_if_due(run: Run, training: Training) -> None:
    """Ask for them again every so many epochs."""
    if training.loaded_in.is_stale("train", training.position.epoch):
        training.data = load_training_data(run, training)


def load_evaluation_data(run: Run, training: Training, evaluation: Evaluation) -> EvaluationData:
    """The loaders of ``evaluation``, asked for where they are not there yet, or due again."""
    options, position = run.options, training.position
    stale = evaluation.fitting and training.loaded_in.is_stale("val", position.epoch)
    if evaluation.data is not None and not stale:
        return evaluation.data
    stage = _STAGES.get(evaluation.kind, evaluation.kind)
    epoch = training.loaded_in.next_load("val", position.epoch) if evaluation.fitting else position.epoch
    loaders = _request(run, position, stage, epoch)
    if options.overfit_batches and evaluation.fitting:
        loaders = without_shuffling(loaders, warn)
    _warn(run, loaders, stage)
    run.strategy.barrier(f"{stage}_dataloader")
    name = f"limit_{stage}_batches"
    placement = _placement(run, predicting=stage == "predict")
    evaluation.data = EvaluationData(loaders, getattr(options, name), name, placement)
    state = training.left.take("validation_data") if evaluation.fitting else None
    if state is not None:
        evaluation.data.load_state_dict(state)
    return evaluation.data


def load_validation_data_if_due(run: Run, training: Training) -> None:
    """Validation loaders are loaded before training where its first epoch needs them, so a mistake shows early."""
    every = run.options.check_val_every_n_epoch
    if training.validation.possible and (every is None or (training.position.epoch + 1) % every == 0):
        load_evaluation_data(run, training, training.validation)
    training.validation.restart_clock()


def training_data_state(training: Training, position: Position, *, in_hand: bool = False) -> dict[str, Any] | None:
    """Where the training loaders stand, after a batch that is in hand as well."""
    if training.left.data is not None:
        return training.left.data
    running = position.next not in BETWEEN_EPOCHS
    return None if training.data is None else training.data.state_dict(position.batch + in_hand, running=running)


def validation_data_state(training: Training) -> list[dict[str, Any]] | None:
    """Which validation loaders have started their processes."""
    data = training.validation.data
    return training.left.validation_data if data is None else data.state_dict()


def unlimited_epochs(options: Options) -> float | None:
    """Optimizer steps of a run that epochs don't limit; None where they do, so that it takes data to tell."""
    stepped = options.max_epochs is None and options.max_steps != -1
    if options.max_epochs != -1 and not stepped:
        return None
    return math.inf if options.max_steps == -1 else options.max_steps


def estimated_stepping_batches(run: Run, training: Training) -> float:
    """Optimizer steps of the whole run; infinite where there is no limit. Loads the training data if need be."""
    options = run.options
    unlimited = unlimited_epochs(options)
    if unlimited is not None:
        return unlimited
    if training.data is None:
        training.data = load_training_data(run, training)
    batches = training.data.num_batches
    if math.isinf(batches):
        return options.max_steps if options.max_steps != -1 else math.inf
    total = math.ceil(batches / options.accumulate_grad_batches) * max(options.max_epochs or 1, 1)
    return min(total, options.max_steps) if options.max_steps != -1 else total


def validation_interval(options: Options, data: TrainingData) -> tuple[float | None, bool]:
    """How many batches lie between validations, and whether they are counted over epochs.

    Raises:
        MisconfigurationException: more batches than an epoch has, or a share of an unknown number.
    """
    interval, every = options.val_check_interval, options.check_val_every_n_epoch
    if options.val_check_seconds is not None:
        return None, every is None
    if isinstance(interval, int):
        over = interval > data.num_batches and bool(options.limit_val_batches)
        if over and every == 1:
            say_once(f"validation runs every {interval} training batches, counted over epochs")
        elif over and every is not None:
            raise MisconfigurationException(
                f"val_check_interval={interval} is more than the {int(data.num_batches)} training batches "
                "of an epoch; "
                "set check_val_every_n_epoch=None to count batches over epochs, or limit_val_batches=0 for "
                "no validation"
            )
        return interval, every is None or over
    if data.sized:
        return max(1, int(data.num_batches * interval)), every is None
    if interval == 1.0:
        return math.inf, every is None
    raise MisconfigurationException(
        f"val_check_interval={interval} is a share of an epoch, but the training loader has no length; "
        "give a number of batches, a duration, or 1.0"
    )


def _placement(run: Run, *, predicting: bool = False) -> Placement:
    return Placement(
        run.strategy.data,
        enabled=run.options.use_distributed_sampler,
        overfit=bool(run.options.overfit_batches),
        predicting=predicting,
    )


def _request(run: Run, position: Position, stage: str, epoch: int) -> Iterable[Any]:
    """The loaders of ``stage`` as its hook makes them in ``epoch``, which it may ask the trainer for."""
    hook, running = f"{stage}_dataloader", position.epoch
    owner = run.datamodule if is_overridden(hook, run.datamodule) else run.module
    position.epoch = epoch
    try:
        with run.hooks.inside(hook):
            given = run.given.get(stage)
            ask = request_loaders if given is not None else run.timed(run.action_of(owner, hook), request_loaders)
            loaders: Iterable[Any] = ask(given, owner, hook)
            return loaders
    finally:
        position.epoch = running


def _warn(run: Run, loaders: Iterable[Any], stage: str) -> None:
    workers = suggested_max_num_workers(run.strategy.process.local_world_size)
    warn_of_loaders(loaders, stage, workers=workers, reloads=run.options.reload_dataloaders_every_n_epochs > 0)


def _warn_of_rare_records(run: Run, data: TrainingData) -> None:
    every, batches = run.options.log_every_n_steps, data.num_batches
    steps = math.inf if math.isinf(batches) else math.ceil(batches / run.options.accumulate_grad_batches)
    if run.loggers and not run.options.fast_dev_run and 0 < steps < every:
        warn_once(
            f"an epoch has {steps} training steps, fewer than log_every_n_steps={every}: loggers get no step "
            f"values in most epochs; to see some of each, pass Trainer(log_every_n_steps={steps}) or less",
            PossibleUserWarning,
        )
