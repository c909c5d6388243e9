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

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from thunderhead.checkpoint import content
from thunderhead.checkpoint.layout import lay_out_module
from thunderhead.checkpoint.of_job import content_of
from thunderhead.core.ending import EndsWell, Interrupted, Stop
from thunderhead.core.hooks import CallbackLike
from thunderhead.core.hparams import drop_unpicklable
from thunderhead.core.position import Position
from thunderhead.core.state import RunningStage, TrainerFn, TrainerState, TrainerStatus
from thunderhead.distributed.last_run import LAST_RUN
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.exceptions import MisconfigurationException, WrongType, refuse_class
from thunderhead.hooks.table import HookTable
from thunderhead.job import attached
from thunderhead.job.board import Phase
from thunderhead.job.errors import Stopped, Superseded
from thunderhead.job.link import Restored
from thunderhead.loops.evaluate import EvaluationLoop, check_evaluation_loop
from thunderhead.loops.job_control import JobControl
from thunderhead.profilers.profiler import PassThroughProfiler
from thunderhead.results.metrics import Metrics
from thunderhead.results.results import Views
from thunderhead.results.sink import Sink
from thunderhead.run.evaluation import Evaluation
from thunderhead.run.loaders import can_validate
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.trainer.assembly import attach_module_callbacks
from thunderhead.trainer.builtin import builtin
from thunderhead.trainer.ckpt_path import resolve
from thunderhead.trainer.destinations import check_destinations
from thunderhead.trainer.failure import attempt, explain, tell, tell_sigterm
from thunderhead.trainer.fitting import check_fit, fit, put_layers_back
from thunderhead.trainer.launched import run_in_children
from thunderhead.trainer.preparing import (
    configure_model,
    place_module,
    prepare_data,
    set_up,
    set_up_profiler,
    tear_down,
)
from thunderhead.trainer.properties import TrainerProperties
from thunderhead.trainer.resuming import load_file
from thunderhead.user.datamodule import LightningDataModule
from thunderhead.user.module import LightningModule
from thunderhead.user.uncalled import warn_of_uncalled
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer

_STAGES: Final = {
    TrainerFn.FITTING: RunningStage.TRAINING,
    TrainerFn.VALIDATING: RunningStage.VALIDATING,
    TrainerFn.TESTING: RunningStage.TESTING,
    TrainerFn.PREDICTING: RunningStage.PREDICTING,
}
_PHASES: Final = {
    TrainerFn.VALIDATING: Phase.VALIDATE,
    TrainerFn.TESTING: Phase.TEST,
    TrainerFn.PREDICTING: Phase.PREDICT,
}


def enter(
    trainer: TrainerProperties,
    fn: TrainerFn,
    model: LightningModule | None,
    loaders: Mapping[str, Any],
    datamodule: LightningDataModule | None,
    ckpt_path: str | os.PathLike[str] | None,
    weights_only: bool | None,
    evaluation: Evaluation | None = None,
) -> list[dict[str, float]] | None:
    """Run one entry point; whatever happens, callbacks and loggers hear of the end.

    Args:
        trainer: shows the run while it goes on, and after it.
        fn: which.
        model: the module; the one of the run before when left out.
        loaders: by stage, as they were passed.
        datamodule: gives them instead.
        ckpt_path: a file, or a word for one, to begin with.
        weights_only: how ``torch.load`` reads it.
        evaluation: what is carried by an entry point other than fit.
    """
    module = _module_for(trainer, fn, model)
    _check_data(fn, loaders, datamodule)
    launcher = trainer.strategy.launcher
    if isinstance(launcher, ProcessLauncher):
        begin(trainer, fn, module, loaders, datamodule, evaluation)
        call: dict[str, Any] = {"fn": fn, "model": model, "loaders": loaders, "datamodule": datamodule}
        call |= {"ckpt_path": ckpt_path, "weights_only": weights_only, "evaluation": evaluation}
        try:
            return run_in_children(trainer, launcher, call)
        except KeyboardInterrupt as error:
            raise Interrupted from error
    asked = ckpt_path if ckpt_path is not None else trainer._kept_ckpt_path
    if model is None and asked is None:
        warn(
            f"Trainer.{fn} got neither a module nor a checkpoint, so the best one of the last fit is loaded; "
            "pass ckpt_path='best' to say so, or the module to run it as it is"
        )
        ckpt_path = "best"
    run = begin(trainer, fn, module, loaders, datamodule, evaluation)
    LAST_RUN.error = None
    try:
        with _running_as(model, module):
            return _from_end_to_end(trainer, run, ckpt_path, weights_only, evaluation)
    except EndsWell:
        put_layers_back(run, trainer._layer_sync)
        tear_down(run, "success", TrainerStatus.FINISHED)
        return None
    except (Stopped, Superseded):
        # Nothing went wrong: the job goes on elsewhere or later. Callbacks that act on failures are not told.
        put_layers_back(run, trainer._layer_sync)
        tear_down(run, "aborted", TrainerStatus.INTERRUPTED)
        raise
    except BaseException as error:
        run.state.status = TrainerStatus.INTERRUPTED
        LAST_RUN.error = type(error)
        if isinstance(error, KeyboardInterrupt):
            say(f"Trainer.{fn} was interrupted and is ending; once more ends it at once")
        attempt(error, trainer, "explain", partial(explain, run, trainer._training, error))
        tell(run, error)
        attempt(error, trainer.strategy, "teardown", trainer.strategy.teardown)
        attempt(error, trainer, "sync_batchnorm", partial(put_layers_back, run, trainer._layer_sync))
        run.state.stage = None
        run.sink.close()
        tell_sigterm(run, trainer._training.position.step, error)
        # The others of this node end as a signal ends them: who watches over them sees that nobody failed.
        if isinstance(error, KeyboardInterrupt) and run.strategy.local_rank == 0 and not run.in_job:
            raise Interrupted from error
        raise
    finally:
        _tell_outside(run, True)


def begin(
    trainer: TrainerProperties,
    fn: TrainerFn,
    module: LightningModule,
    loaders: Mapping[str, Any],
    datamodule: LightningDataModule | None,
    evaluation: Evaluation | None = None,
) -> Run:
    """The records of a new run, which the Trainer shows from now on."""
    options, strategy, loggers = trainer._options, trainer.strategy, trainer._loggers
    sink = Sink(strategy, loggers, module, records=not options.barebones)
    profiler = None if type(trainer.profiler) is PassThroughProfiler else trainer.profiler
    run = Run(
        caller=trainer,
        state=TrainerState(TrainerStatus.RUNNING, fn, _STAGES[fn]),
        options=options,
        module=module,
        datamodule=datamodule,
        given=loaders,
        strategy=strategy,
        precision=trainer.precision_plugin,
        loggers=loggers,
        callbacks=cast("list[CallbackLike]", trainer._callbacks),
        hooks=HookTable(trainer, trainer._callbacks, module, sink, profiler),
        sink=sink,
        metrics=Metrics(sink, strategy, loggers, module),
        stop=Stop(),
        in_job=attached() is not None,
        profiler=profiler,
    )
    # Until hooks have prepared this run, what the one before measured can be asked for.
    run.metrics.forget_since(trainer._metrics.kept())
    trainer._run = run
    module.trainer = cast("Trainer", trainer)
    drop_unpicklable(module)
    if datamodule is not None:
        datamodule.trainer = cast("Trainer", trainer)
        drop_unpicklable(datamodule)
    if evaluation is None:
        if options.decide_on_epochs(partial(_is_timed, trainer)):
            warn(f"max_epochs was not set, so training ends after {options.max_epochs}; -1 is without a limit")
        trainer._training = trainer._next_training()
        trainer._training.validation.possible = can_validate(run)
    else:
        trainer._evaluations[fn] = evaluation
    return run


def _is_timed(trainer: TrainerProperties) -> bool:
    return any(isinstance(callback, builtin().TIMER) for callback in trainer.callbacks)


def _from_end_to_end(
    trainer: TrainerProperties,
    run: Run,
    ckpt_path: str | os.PathLike[str] | None,
    weights_only: bool | None,
    evaluation: Evaluation | None,
) -> list[dict[str, float]] | None:
    training, module = trainer._training, trainer.lightning_module
    attach_module_callbacks(run)
    warn_of_uncalled(module, trainer.datamodule, trainer._callbacks)
    if evaluation is None:
        check_fit(run)
    else:
        check_evaluation_loop(module, evaluation.kind, str(run.state.fn))
    run.strategy.setup_environment()
    _tell_outside(run, False)
    check_destinations(run)
    set_up_profiler(run, trainer.log_dir if run.profiler is not None else None)
    prepare_data(run)
    set_up(run)
    configure_model(run)
    restored = _open_job(run, training)
    path = trainer._resumed_from = None if restored is not None else _path_of(trainer, run, ckpt_path)
    loaded = content_of(run.strategy, restored) if restored is not None else load_file(run, path, weights_only)
    if loaded is not None:
        content.restore_modules(run, loaded)
        if restored is not None:
            lay_out_module(module, loaded["state_dict"])
        training.left.file = loaded if run.fitting and restored is None else None
    run.metrics.forget_since(Views())
    # Hooks until here may change it.
    run.metrics.every_n_steps = 1 if run.options.fast_dev_run else run.options.log_every_n_steps or math.inf
    place_module(run, trainer._layer_sync)
    result = None
    if evaluation is None:
        fit(run, training, loaded, restored, path=path, show=partial(setattr, trainer, "_fit_loop"))
        put_layers_back(run, trainer._layer_sync)
        run.hooks.call("on_fit_end")
    else:
        with _standing_at(trainer, loaded) as stands:
            result = _evaluate(run, stands, evaluation)
    tear_down(run, "success", TrainerStatus.FINISHED)
    return result


def _path_of(trainer: TrainerProperties, run: Run, ckpt_path: str | os.PathLike[str] | None) -> str | None:
    return resolve(run, ckpt_path if ckpt_path is not None else trainer._kept_ckpt_path)


def _tell_outside(run: Run, outside: bool) -> None:
    # In a job the agent knows, and its store may be on the node that is gone.
    if not run.in_job:
        run.strategy.tell_outside(outside)


def _evaluate(run: Run, training: Training, evaluation: Evaluation) -> list[dict[str, float]]:
    run.module.zero_grad()
    loop = EvaluationLoop(run, training, evaluation)
    try:
        result = loop.run()
    finally:
        loop.let_go()
    if run.control is not None:
        run.control.finish(training.position)
    return result


@contextmanager
def _standing_at(trainer: TrainerProperties, loaded: dict[str, Any] | None) -> Iterator[Training]:
    """An evaluation of a file's weights belongs to the file's step and epoch, where the Trainer has none of its own."""
    own = trainer._training
    if loaded is not None and own.position == Position():
        position = content.position_in(loaded)
        position.epoch = position.epochs_trained
        trainer._training = replace(own, position=position)
    try:
        yield trainer._training
    finally:
        trainer._training = own


def _open_job(run: Run, training: Training) -> Restored | None:
    """The newest committed checkpoint, where this process runs in a job; fit also reports to it from now on."""
    link = attached()
    if link is None:
        return None
    job = JobControl(run, training, link)
    restored = job.open()
    run.control = job
    if not run.fitting:
        job.phase(_PHASES[run.fn])
    return restored


def _module_for(trainer: TrainerProperties, fn: TrainerFn, model: object) -> LightningModule:
    if model is None:
        if trainer._run is None or fn is TrainerFn.FITTING:
            raise WrongType(f"Trainer.{fn} needs a module; pass one")
        return trainer.lightning_module
    # What torch.compile returns holds the module it compiled; see ``_running_as``.
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


def _running_as(given: object, module: LightningModule) -> AbstractContextManager[None]:
    if given is None or given is module:
        return nullcontext()
    from thunderhead.trainer.compiling import compiled_steps

    return compiled_steps(module, given)


def _check_data(fn: TrainerFn, loaders: Mapping[str, Any], datamodule: object) -> None:
    for given in (*loaders.values(), datamodule):
        refuse_class(given, f"Trainer.{fn}")
    if datamodule is not None and not isinstance(datamodule, LightningDataModule):
        raise WrongType(
            f"Trainer.{fn} got datamodule={datamodule!r}; pass an instance of a class derived from LightningDataModule"
        )
    if datamodule is not None and any(loader is not None for loader in loaders.values()):
        raise MisconfigurationException(f"Trainer.{fn} got loaders and a datamodule; pass only one of them")
