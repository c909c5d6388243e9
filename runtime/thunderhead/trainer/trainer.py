"""The trainer: arguments in, entry points out. What happens in a run is in ``thunderhead.trainer.entry_point``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TextIO

import torch

from thunderhead.accelerators import Accelerator
from thunderhead.core.state import TrainerFn
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.distributed.strategy import Strategy
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers.logger import Logger
from thunderhead.profilers.profiler import Profiler
from thunderhead.run.evaluation import Evaluation, evaluation
from thunderhead.run.ones import understood
from thunderhead.run.options import effective, read_options
from thunderhead.standing import step_off
from thunderhead.trainer.assembly import choose_profiler, collect_callbacks, collect_loggers, set_determinism
from thunderhead.trainer.builtin import builtin
from thunderhead.trainer.checkpointing import save_checkpoint
from thunderhead.trainer.doors import Doors
from thunderhead.trainer.entry_point import enter
from thunderhead.trainer.keywords import keyword_arguments
from thunderhead.trainer.placement import choose_strategy
from thunderhead.trainer.plugins import Plugin, choose_checkpoint_io, choose_layer_sync, choose_precision, read_plugins
from thunderhead.trainer.records import Idle
from thunderhead.user.callback import Callback
from thunderhead.user.datamodule import LightningDataModule
from thunderhead.user.module import LightningModule
from thunderhead.warning import say


class Trainer(Doors):
    """Runs a module: fit with validation, validate, test, predict.

    Arguments, their defaults and their meaning are those of Lightning 2.x. Each can be set in the environment as
    ``PL_TRAINER_<ARGUMENT>`` too.

    Args:
        accelerator: auto, cpu, gpu, cuda, mps, tpu, what else torch has, or an Accelerator.
        strategy: auto, single_device, ddp, ddp_spawn, ddp_fork, ddp_notebook (each ddp also with
            ``_find_unused_parameters_true`` or ``_false``), or a Strategy.
        devices: how many, which (a list, or ``"0,2"``), ``-1`` for all, or auto. One process is started for each,
            unless a launcher has done so; then it is only checked.
        num_nodes: number of nodes; follows the environment, only checked.
        precision: 32-true, 64-true, bf16-mixed, 16-mixed, bf16-true or 16-true.
        logger: True for TensorBoard where it is installed, else for a CSV logger; False for none, a logger or several.
        callbacks: one or several; packages may add some (entry points of ``thunderhead.callbacks_factory``).
        fast_dev_run: run this many batches of everything, without logs or checkpoints; True for 1.
        max_epochs: epochs to train; -1 for no limit, 1000 if nothing else limits the run.
        min_epochs: epochs before ``should_stop`` counts.
        max_steps: optimizer steps to train; -1 for no limit.
        min_steps: optimizer steps before ``should_stop`` counts.
        max_time: how long to train: ``"DD:HH:MM:SS"``, a timedelta or a dict of its arguments.
        limit_train_batches: an integer counts batches, a float is a share; ``"1 batch"`` and ``"100%"`` say it.
        limit_val_batches: the same for validation.
        limit_test_batches: the same for test.
        limit_predict_batches: the same for predict.
        overfit_batches: train and validate on this part of the training and validation data, unshuffled.
        val_check_interval: validate every this many batches, at this share of an epoch, or after this time.
        check_val_every_n_epoch: validate in every n-th epoch; None to count batches over epochs.
        num_sanity_val_steps: validation batches before training; -1 for all, 0 for none.
        log_every_n_steps: training steps between records of step values.
        enable_checkpointing: add a ModelCheckpoint when none is given.
        enable_progress_bar: show progress.
        enable_model_summary: print what the module is made of.
        accumulate_grad_batches: batches per optimizer step.
        gradient_clip_val: clip gradients at this value; None or 0 for not.
        gradient_clip_algorithm: norm (default) or value.
        deterministic: True, False or "warn" for torch's deterministic algorithms; None leaves them.
        benchmark: cuDNN's autotuner; None leaves it.
        inference_mode: inference mode rather than no_grad in validate, test and predict.
        use_distributed_sampler: cut loaders into one part per rank.
        profiler: simple, advanced, pytorch, or a Profiler.
        detect_anomaly: autograd's anomaly detection.
        barebones: switch off everything that costs time.
        plugins: a Precision, CheckpointIO, ClusterEnvironment or LayerSync, or one of each.
        sync_batchnorm: share BatchNorm statistics between ranks.
        reload_dataloaders_every_n_epochs: ask for the loaders again every n epochs; 0 for never.
        default_root_dir: directory or URL where files go; the working directory by default.
        enable_autolog_hparams: send hyperparameters to the loggers.

    Raises:
        MisconfigurationException: an argument cannot mean anything, or contradicts another.
    """

    @keyword_arguments
    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: str | Strategy = "auto",
        devices: list[int] | str | int = "auto",
        num_nodes: int | None = None,
        precision: int | str | None = None,
        logger: Logger | Iterable[Logger] | bool | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        fast_dev_run: int | bool = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: str | timedelta | dict[str, int] | None = None,
        limit_train_batches: int | float | str | None = None,
        limit_val_batches: int | float | str | None = None,
        limit_test_batches: int | float | str | None = None,
        limit_predict_batches: int | float | str | None = None,
        overfit_batches: int | float | str = 0.0,
        val_check_interval: int | float | str | timedelta | dict[str, int] | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | str | None = None,
        benchmark: bool | None = None,
        inference_mode: bool = True,
        use_distributed_sampler: bool = True,
        profiler: Profiler | str | None = None,
        detect_anomaly: bool = False,
        barebones: bool = False,
        plugins: Plugin | list[Plugin] | tuple[Plugin, ...] | None = None,
        sync_batchnorm: bool = False,
        reload_dataloaders_every_n_epochs: int = 0,
        default_root_dir: str | os.PathLike[str] | None = None,
        enable_autolog_hparams: bool = True,
    ) -> None:
        given = effective({name: value for name, value in locals().items() if name not in ("self", "__class__")})
        options = read_options(given)
        for line in () if options.fast_dev_run else understood(given):
            say(line)
        chosen_profiler = choose_profiler(given["profiler"])
        set_determinism(deterministic, given["benchmark"])
        read = read_plugins(given["plugins"])
        chosen = choose_strategy(given, read)
        number_format = choose_precision(given["precision"], read, chosen)
        chosen.precision_plugin, chosen.owner = number_format, self
        chosen.checkpoint_io = choose_checkpoint_io(read, chosen)
        super().__init__(options, chosen, number_format, choose_layer_sync(given["sync_batchnorm"], read))
        self.profiler = chosen_profiler
        self.loggers = collect_loggers(given, options)
        self.callbacks = collect_callbacks(given, options, chosen.cluster_environment)

    # --- entry points --------------------------------------------------------------------------------------------

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Iterable[Any] | LightningDataModule | None = None,
        val_dataloaders: Iterable[Any] | None = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train ``model``, validating in between.

        Args:
            model: the module.
            train_dataloaders: an iterable of batches, or a collection of them; a datamodule may stand here too.
            val_dataloaders: one iterable or several.
            datamodule: gives the loaders instead.
            ckpt_path: a file or URL to go on from, ``"best"`` or ``"last"``.
            weights_only: how ``torch.load`` reads that file.

        Raises:
            MisconfigurationException: module, data and arguments do not fit together.
            Stopped: in a job, all ranks stopped as asked and the checkpoint is committed.
        """
        if isinstance(train_dataloaders, LightningDataModule):
            train_dataloaders, datamodule = None, train_dataloaders
        loaders = {"train": train_dataloaders, "val": val_dataloaders}
        enter(self, TrainerFn.FITTING, model, loaders, datamodule, ckpt_path, weights_only)

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Iterable[Any] | LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Run validation once.

        Args:
            model: the module; the attached one, with its best checkpoint, when left out.
            dataloaders: one iterable of batches or several; a datamodule may stand here too.
            ckpt_path: weights to load: a file or URL, ``"best"`` or ``"last"``.
            verbose: print the metrics.
            datamodule: gives the loaders instead.
            weights_only: how ``torch.load`` reads that file.

        Returns:
            One dict of metrics per loader.
        """
        return self._evaluate(
            TrainerFn.VALIDATING, "val", model, dataloaders, ckpt_path, verbose, datamodule, weights_only
        )

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Iterable[Any] | LightningDataModule | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Run the test loop once; arguments and result as for ``validate``."""
        return self._evaluate(
            TrainerFn.TESTING, "test", model, dataloaders, ckpt_path, verbose, datamodule, weights_only
        )

    def _evaluate(
        self,
        fn: TrainerFn,
        stage: str,
        model: LightningModule | None,
        dataloaders: Iterable[Any] | LightningDataModule | None,
        ckpt_path: str | os.PathLike[str] | None,
        verbose: bool,
        datamodule: LightningDataModule | None,
        weights_only: bool | None,
    ) -> list[dict[str, float]]:
        if isinstance(dataloaders, LightningDataModule):
            dataloaders, datamodule = None, dataloaders
        loaders, carried = {stage: dataloaders}, self._new_evaluation(fn)
        found = enter(self, fn, model, loaders, datamodule, ckpt_path, weights_only, carried)
        if verbose and self.is_global_zero and found:
            builtin().print_results(found, fn)
        return found or []

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Iterable[Any] | LightningDataModule | None = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
    ) -> list[Any] | None:
        """Predict every batch.

        Args:
            model: the module; the attached one, with its best checkpoint, when left out.
            dataloaders: one iterable of batches or several; a datamodule may stand here too.
            datamodule: gives the loaders instead.
            return_predictions: whether to keep and return what ``predict_step`` returns; True by default, and not
                possible where the ranks are children of this process (``ddp_spawn``, ``ddp_fork``).
            ckpt_path: weights to load: a file or URL, ``"best"`` or ``"last"``.
            weights_only: how ``torch.load`` reads that file.

        Returns:
            One entry per batch, on the CPU; a list of such lists for several loaders; None if nothing is returned.

        Raises:
            MisconfigurationException: ``return_predictions=True`` where the ranks are children of this process.
        """
        if isinstance(dataloaders, LightningDataModule):
            dataloaders, datamodule = None, dataloaders
        in_children = isinstance(self.strategy.launcher, ProcessLauncher)
        if in_children and return_predictions:
            raise MisconfigurationException(
                "return_predictions=True under a strategy that starts other processes: predictions stay there. Pass "
                "return_predictions=False and write them in a callback, or use strategy='ddp'"
            )
        carried = self._new_evaluation(TrainerFn.PREDICTING)
        carried.keep_predictions = returns = return_predictions is not False and not in_children
        loaders = {"predict": dataloaders}
        enter(self, TrainerFn.PREDICTING, model, loaders, datamodule, ckpt_path, weights_only, carried)
        found = carried.predictions
        if not returns or not found:
            return None
        return found[0] if len(found) == 1 else found

    def save_checkpoint(
        self, filepath: str | os.PathLike[str], weights_only: bool | None = None, storage_options: object = None
    ) -> None:
        """Write a ``.ckpt`` file; every rank must call it.

        Args:
            filepath: path or URL.
            weights_only: leave out optimizers, schedulers and callbacks.
            storage_options: must be None: who may write is said by the environment.

        Raises:
            AttributeError: no module is attached.
            OSError: it could not be written; raised on every rank.
            TypeError: ``filepath`` is no path.
        """
        with self.profiler.profile("save_checkpoint"):
            save_checkpoint(self._run, self._training, filepath, bool(weights_only), storage_options)

    @contextmanager
    def init_module(self, empty_init: bool | None = None) -> Iterator[None]:
        """Modules made inside have their parameters on the device and in the number format of the run at once.

        Args:
            empty_init: leave parameters uninitialised, for a checkpoint that is loaded anyway.
        """
        with self.precision_plugin.init_context(), self.strategy.module_context(), _Uninitialised(bool(empty_init)):
            yield

    def print(
        self,
        *values: object,
        sep: str | None = " ",
        end: str | None = "\n",
        file: TextIO | None = None,
        flush: bool = False,
    ) -> None:
        """Print on local rank 0."""
        if self.local_rank == 0:
            step_off()
            print(*values, sep=sep, end=end, file=file, flush=flush)

    def _new_evaluation(self, fn: TrainerFn) -> Evaluation:
        """Of what another one carried, the x axis of step values goes on."""
        made, before = evaluation(_KINDS[fn]), self._evaluations.get(fn)
        made.seen = list(before.seen) if before is not None else []
        return made

    def __getstate__(self) -> dict[str, Any]:
        """What another process or a copy needs to go on as this one would: where training stands, and no run."""
        idle = Idle(self.strategy, self._loggers)
        idle.metrics.load_state_dict(self._metrics.state_dict())
        return {
            **self.__dict__,
            "_idle": idle,
            "_run": None,
            "_fit_loop": None,
            "_training": self._next_training(),
            "_evaluations": {},
        }


_KINDS: Mapping[TrainerFn, str] = {
    TrainerFn.VALIDATING: "validation",
    TrainerFn.TESTING: "test",
    TrainerFn.PREDICTING: "predict",
}


class _Uninitialised(torch.overrides.TorchFunctionMode):
    """Skips what ``torch.nn.init`` does, if it is to."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        self._skip = skip

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if self._skip and getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        return function(*args, **kwargs)
