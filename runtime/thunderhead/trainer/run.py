"""One entry point from end to end.

::

    fit:                                             validate, test, predict:
        configure_callbacks                              configure_callbacks
        prepare_data                                     prepare_data
        setup("fit")                                     setup(stage)
        configure_model                                  configure_model
        [checkpoint] module, datamodule, callbacks       [checkpoint] module, datamodule, callbacks
        to the device, wrap, configure_optimizers        to the device
        on_fit_start
        hyperparameters to the loggers
        [checkpoint] precision, optimizers, schedulers
        zero_grad, sanity check                          zero_grad
        the fit loop                                     the evaluation loop
        on_fit_end
        teardown("fit"), loggers finalized               teardown(stage), loggers finalized
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from thunderhead.checkpoint import content
from thunderhead.checkpoint.layout import lay_out_module
from thunderhead.core.datamodule import LightningDataModule
from thunderhead.core.hparams import drop_unpicklable, merged
from thunderhead.core.module import LightningModule
from thunderhead.distributed.ending import LAST_RUN
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.exceptions import MisconfigurationException, refuse_class
from thunderhead.job import attached
from thunderhead.job.board import Phase
from thunderhead.job.errors import Stopped, Superseded
from thunderhead.job.link import Restored
from thunderhead.loggers.logger import Logger
from thunderhead.loops.control import control_of_ranks, sigterm_stops
from thunderhead.loops.evaluate import check_evaluation_loop
from thunderhead.loops.job import JobControl, content_of, restore_local
from thunderhead.loops.position import BETWEEN_EPOCHS, Next
from thunderhead.rng import isolate_rng
from thunderhead.trainer.assembly import attach_module_callbacks
from thunderhead.trainer.destinations import check_destinations
from thunderhead.trainer.failure import attempt, explain, tell, tell_sigterm
from thunderhead.trainer.following import follow, has_loader
from thunderhead.trainer.hook_names import warn_of_uncalled
from thunderhead.trainer.hook_table import is_overridden
from thunderhead.trainer.launched import run_in_children
from thunderhead.trainer.resuming import load_file, put_gradients_back, resume_training, standing_at
from thunderhead.trainer.state import RunningStage, TrainerFn, TrainerStatus
from thunderhead.warning import say, warn, warn_once

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer

_STAGES = {
    "fit": RunningStage.TRAINING,
    "validate": RunningStage.VALIDATING,
    "test": RunningStage.TESTING,
    "predict": RunningStage.PREDICTING,
}
_KINDS = {"validate": "validation", "test": "test", "predict": "predict"}


def run(
    trainer: Trainer,
    fn: str,
    model: LightningModule | None,
    loaders: dict[str, Any],
    datamodule: LightningDataModule | None,
    ckpt_path: Any,
    weights_only: bool | None,
) -> Any:
    """Run one entry point; whatever happens, callbacks and loggers hear of the end."""
    module = _module_for(trainer, fn, model)
    for given in (*loaders.values(), datamodule):
        refuse_class(given, f"Trainer.{fn}")
    if datamodule is not None and not isinstance(datamodule, LightningDataModule):
        raise MisconfigurationException(
            f"Trainer.{fn} got datamodule={datamodule!r}; pass an instance of a class derived from LightningDataModule"
        )
    if datamodule is not None and any(loader is not None for loader in loaders.values()):
        raise MisconfigurationException(f"Trainer.{fn} got loaders and a datamodule; pass only one of them")
    launcher = trainer.strategy.launcher
    if isinstance(launcher, ProcessLauncher):
        _attach(trainer, fn, module, loaders, datamodule)
        call = {"fn": fn, "model": model and module, "loaders": loaders, "datamodule": datamodule}
        return run_in_children(trainer, launcher, {**call, "ckpt_path": ckpt_path, "weights_only": weights_only})
    asked = ckpt_path if ckpt_path is not None else trainer._kept_ckpt_path
    if model is None and asked is None:
        warn(
            f"Trainer.{fn} got neither a module nor a checkpoint, so the best one of the last fit is loaded; "
            "pass ckpt_path='best' to say so, or the module to run it as it is"
        )
        ckpt_path = "best"
    _attach(trainer, fn, module, loaders, datamodule)
    LAST_RUN.error = None
    try:
        return _run(trainer, fn, ckpt_path, weights_only)
    except (Stopped, Superseded):
        # Nothing went wrong: the job goes on elsewhere or later. Callbacks that act on failures are not told.
        _put_layers_back(trainer)
        _finish(trainer, fn, "aborted", TrainerStatus.INTERRUPTED)
        raise
    except BaseException as error:
        trainer.state.status = TrainerStatus.INTERRUPTED
        LAST_RUN.error = type(error)
        attempt(error, trainer, "explain", partial(explain, trainer, error))
        tell(trainer, error)
        attempt(error, trainer.strategy, "teardown", trainer.strategy.teardown)
        attempt(error, trainer, "sync_batchnorm", partial(_put_layers_back, trainer))
        trainer.state.stage = trainer._stage = None
        trainer._sink.results = None
        tell_sigterm(trainer, error)
        raise
    finally:
        _tell_outside(trainer, True)


def _run(trainer: Trainer, fn: str, ckpt_path: Any, weights_only: bool | None) -> Any:
    module = trainer.lightning_module
    attach_module_callbacks(trainer)
    warn_of_uncalled(trainer)
    if fn == "fit":
        _tell_of_half_a_validation(trainer)
        if trainer._limited_by_default:
            warn(f"max_epochs was not set, so training ends after {trainer.max_epochs}; -1 is without a limit")
        trainer._check_fit(module)
    else:
        check_evaluation_loop(module, _KINDS[fn], fn)
    trainer.strategy.setup_environment()
    _tell_outside(trainer, False)
    check_destinations(trainer, fn)
    _prepare_data(trainer)
    _setup(trainer, fn)
    _configure_model(trainer)
    restored = _open_job(trainer, fn)
    loaded = content_of(restored) if restored is not None else load_file(trainer, ckpt_path, weights_only)
    if loaded is not None:
        content.restore_modules(trainer, loaded)
        if restored is not None:
            lay_out_module(module, loaded["state_dict"])
        trainer._left.file = loaded if fn == "fit" and restored is None else None
    trainer._metrics.begin_run()
    trainer._train_results.reset()
    trainer._move_module(module)
    result = None
    if fn == "fit":
        _fit(trainer, loaded, restored)
    else:
        with standing_at(trainer, loaded):
            result = _evaluate(trainer, fn)
    _finish(trainer, fn, "success", TrainerStatus.FINISHED)
    return result


def _tell_outside(trainer: Trainer, outside: bool) -> None:
    # In a job the agent knows, and its store may be on the node that is gone.
    if not trainer._in_job:
        trainer.strategy.tell_outside(outside)


def _fit(trainer: Trainer, loaded: dict[str, Any] | None, restored: Restored | None) -> None:
    module, hooks = trainer.lightning_module, trainer._hooks
    trainer.strategy.wrap(module)
    trainer._set_up_optimizers()
    hooks.call("on_fit_start")
    _log_hyperparameters(trainer)
    if loaded is not None:
        resume_training(trainer, loaded, trainer._resumed_from if restored is None else None)
    going_on = loaded is not None or trainer._position.batches > 0
    counts = _records_before(loaded, restored)
    for index, logger in enumerate(trainer.loggers):
        if isinstance(logger, Logger):
            count = counts[index] if len(counts) == len(trainer.loggers) else None
            logger._train_from(trainer._position.log_step if going_on else None, count)
    if loaded is not None:
        # It may log, so loggers know first what of their records stands.
        trainer.fit_loop.finish_epoch()
    if restored is not None:
        restore_local(trainer, restored)
    torch.set_grad_enabled(True)
    module.zero_grad()
    put_gradients_back(trainer)
    if trainer._control is None:
        trainer._control = control_of_ranks(trainer)
    control = trainer._control
    try:
        with torch.autograd.set_detect_anomaly(trainer.detect_anomaly), sigterm_stops(trainer):
            _sanity_check(trainer, resumed_inside=restored is not None or trainer._position.next not in BETWEEN_EPOCHS)
            trainer.fit_loop.run()
        if control is not None:
            control.finish(content.copy_position(trainer._position, next=Next.NOTHING))
    finally:
        trainer.fit_loop.let_go()
        if control is not None:
            control.close()
    trainer._sink.results = None
    trainer.strategy.teardown()
    _put_layers_back(trainer)
    hooks.call("on_fit_end")


def _records_before(loaded: dict[str, Any] | None, restored: Restored | None) -> list[int | None]:
    """How many records each logger had by the checkpoint; none where it does not tell, as those of before."""
    own = restored.local if restored is not None else (loaded or {}).get(content.OWN_KEY) or {}
    found: list[int | None] = (own.get("counters") or {}).get("records") or []
    return found


def _put_layers_back(trainer: Trainer) -> None:
    """However a fit ended, the module has the layers it came with."""
    if trainer._layer_sync is not None and trainer.world_size > 1 and trainer._fn == "fit":
        trainer._layer_sync.revert(trainer.lightning_module)


def _evaluate(trainer: Trainer, fn: str) -> Any:
    loop = {"validate": trainer._validate, "test": trainer._test, "predict": trainer._predict}[fn]
    loop.data = None
    trainer.lightning_module.zero_grad()
    try:
        result = loop.run()
    finally:
        loop.let_go()
    if trainer._control is not None:
        trainer._control.finish(trainer._position)
    return result


def _module_for(trainer: Trainer, fn: str, model: Any) -> LightningModule:
    if model is None:
        if trainer._module is None or fn == "fit":
            raise MisconfigurationException(f"Trainer.{fn} needs a module; pass one")
        return trainer._module
    # What torch.compile returns holds the module it compiled.
    unwrapped = getattr(model, "_orig_mod", model)
    refuse_class(unwrapped, f"Trainer.{fn}")
    if not isinstance(unwrapped, LightningModule):
        raise TypeError(f"Trainer.{fn} got a {type(model).__qualname__}; pass a LightningModule")
    if "_automatic_optimization" not in vars(unwrapped):
        raise MisconfigurationException(
            f"Trainer.{fn} got a {type(unwrapped).__qualname__} whose __init__ did not call super().__init__(); make "
            "that its first line"
        )
    return unwrapped


def _attach(
    trainer: Trainer,
    fn: str,
    module: LightningModule,
    loaders: dict[str, Any],
    datamodule: LightningDataModule | None,
) -> None:
    trainer._fn = fn
    trainer.state.fn, trainer.state.status = TrainerFn(fn), TrainerStatus.RUNNING
    trainer._stage, trainer.state.stage = _STAGES[fn].value, _STAGES[fn]
    trainer._module = module
    module.trainer = trainer
    trainer._given_loaders = loaders
    trainer.datamodule = datamodule
    drop_unpicklable(module)
    if datamodule is not None:
        datamodule.trainer = trainer
        drop_unpicklable(datamodule)
    follow(trainer)


def _tell_of_half_a_validation(trainer: Trainer) -> None:
    """A loader without a step is a mistake; a step without a loader may be meant for ``Trainer.validate``."""
    module, datamodule = trainer.lightning_module, trainer.datamodule
    has_step = is_overridden("validation_step", module)
    data_given = has_loader(trainer, "val")
    if data_given and not has_step:
        given = "val_dataloaders" if trainer._given_loaders.get("val") is not None else "val_dataloader"
        warn(f"{type(module).__name__} has no validation_step, so {given} is not used")
    elif has_step and not data_given and trainer.limit_val_batches != 0:
        lacking = (
            "no val_dataloaders were passed"
            if datamodule is None
            else (f"{type(datamodule).__name__} has no val_dataloader")
        )
        say(f"validation_step of {type(module).__name__} is not called: {lacking}")


def _prepare_data(trainer: Trainer) -> None:
    """Once per node, or once in all; the others wait."""
    for owner in (trainer.datamodule, trainer.lightning_module):
        if owner is None or not is_overridden("prepare_data", owner):
            continue
        per_node = owner.prepare_data_per_node
        chosen = trainer.local_rank == 0 if per_node else trainer.global_rank == 0
        if chosen:
            with trainer._hooks.inside("prepare_data"):
                owner.prepare_data()
        name = f"prepared-{trainer.node_rank}" if per_node else "prepared"
        trainer.strategy.wait_for_one(name, chosen)


def _setup(trainer: Trainer, fn: str) -> None:
    trainer.strategy.barrier("before setup")
    # Loggers make their directories on rank 0 before anyone asks where they are.
    for logger in trainer.loggers:
        _ = logger.experiment
    trainer._hooks.resolve()
    if trainer.datamodule is not None and is_overridden("setup", trainer.datamodule):
        trainer.datamodule.setup(fn)
    trainer._hooks.call("setup", fn)
    trainer._hooks.call_module("setup", fn)
    trainer._hooks.resolve()
    trainer.strategy.barrier("after setup")


def _configure_model(trainer: Trainer) -> None:
    module = trainer.lightning_module
    if is_overridden("configure_sharded_model", module):
        name = type(module).__name__
        if is_overridden("configure_model", module):
            raise RuntimeError(
                f"{name} overrides configure_model and configure_sharded_model, which is its old name; keep the first"
            )
        warn_once(f"{name}.configure_sharded_model is deprecated; rename it to configure_model")
        trainer._hooks.call_module("configure_sharded_model")
    trainer._hooks.call_module("configure_model")


def _open_job(trainer: Trainer, fn: str) -> Restored | None:
    """The newest committed checkpoint, where this process runs in a job; fit also reports to it from now on."""
    link = attached()
    if link is None:
        return None
    job = JobControl(trainer, link)
    restored = job.open()
    trainer._control = job
    if fn != "fit":
        job.phase({"validate": Phase.VALIDATE, "test": Phase.TEST, "predict": Phase.PREDICT}[fn])
    return restored


def _log_hyperparameters(trainer: Trainer) -> None:
    if not trainer.loggers or not trainer.enable_autolog_hparams:
        return
    owners = (trainer.lightning_module, trainer.datamodule)
    hparams = merged([owner.hparams_initial for owner in owners if owner is not None and owner._log_hyperparams])
    for logger in trainer.loggers:
        if hparams:
            logger.log_hyperparams(hparams)
        logger.log_graph(trainer.lightning_module)
        logger.save()


def _sanity_check(trainer: Trainer, *, resumed_inside: bool) -> None:
    """A few validation batches before training, so that a mistake there shows at once; leaves no trace."""
    if not trainer._validation.possible or not trainer.num_sanity_val_steps or resumed_inside:
        return
    with isolate_rng():
        before = trainer._metrics.kept()
        trainer.state.stage = RunningStage.SANITY_CHECKING
        trainer._hooks.call("on_sanity_check_start")
        trainer._validation.run(sanity_batches=trainer.num_sanity_val_steps)
        trainer._hooks.call("on_sanity_check_end")
        trainer._metrics.forget_since(before)
        trainer._validation.forget()
        trainer.state.stage = RunningStage.TRAINING


def _finish(trainer: Trainer, fn: str, status: str, end: TrainerStatus) -> None:
    datamodule = trainer.datamodule
    if datamodule is not None and is_overridden("teardown", datamodule):
        datamodule.teardown(fn)
    trainer._hooks.call("teardown", fn)
    trainer._hooks.call_module("teardown", fn)
    for logger in trainer.loggers:
        logger.finalize(status)
    trainer.strategy.teardown()
    trainer._sink.results = None
    trainer.state.status = end
    trainer.state.stage = trainer._stage = None
