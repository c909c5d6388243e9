"""What users read from a trainer: views of its newest records."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from thunderhead.accelerators import Accelerator
from thunderhead.core.hooks import CallbackLike
from thunderhead.core.optimization import LRSchedulerConfig
from thunderhead.core.state import RunningStage, TrainerFn
from thunderhead.loggers.logger import Logger
from thunderhead.run.loaders import estimated_stepping_batches, unlimited_epochs
from thunderhead.run.optimizers import OptimizerSteps
from thunderhead.run.run import Run
from thunderhead.trainer.builtin import builtin
from thunderhead.trainer.records import Records
from thunderhead.trainer.root import in_full
from thunderhead.user.callback import Callback, Checkpoint
from thunderhead.user.datamodule import LightningDataModule
from thunderhead.user.module import LightningModule

if TYPE_CHECKING:
    from thunderhead.trainer.shown_loops import ShownEvaluationLoop, ShownFitLoop


class TrainerProperties(Records):
    """What the newest run shows of itself, and the Trainer of its devices."""

    # --- where it runs -------------------------------------------------------------------------------------------

    @property
    def global_rank(self) -> int:
        """Rank of this process among all."""
        return self.strategy.global_rank

    @property
    def local_rank(self) -> int:
        """Rank of this process on its node."""
        return self.strategy.local_rank

    @property
    def node_rank(self) -> int:
        """Which node this is."""
        return self.strategy.node_rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.strategy.world_size

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.strategy.process.num_nodes

    @property
    def num_devices(self) -> int:
        """Devices used on this node: one per process."""
        return self.strategy.process.local_world_size

    @property
    def accelerator(self) -> Accelerator:
        """Kind of the devices."""
        found = self.strategy.accelerator
        assert found is not None, "the Trainer gives its strategy one"
        return found

    @property
    def device_ids(self) -> list[int]:
        """Indices of the devices used on this node; their number in order where they have none, as processors."""
        devices = self.strategy.parallel_devices or [self.strategy.root_device]
        return [position if device.index is None else device.index for position, device in enumerate(devices)]

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""
        return self.strategy.is_global_zero

    @property
    def precision(self) -> str:
        """Canonical name of the precision."""
        return self.precision_plugin.precision

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The gradient scaler, where there is one."""
        return getattr(self.precision_plugin, "scaler", None)

    # --- what it runs --------------------------------------------------------------------------------------------

    @property
    def lightning_module(self) -> LightningModule:
        """The module being run; None before the first run, which the type leaves out, as every hook has one."""
        if self._run is None:
            return cast(LightningModule, None)
        module = self._run.module
        assert isinstance(module, LightningModule), "entry points take no other"
        return module

    @property
    def model(self) -> nn.Module | None:
        """The module, or its wrapper where a strategy put one around it."""
        if self.strategy.model is not None or self._run is None:
            return self.strategy.model
        return self._run.module

    @property
    def datamodule(self) -> LightningDataModule | None:
        """The datamodule of the newest run, or None."""
        found = self._idle.datamodule if self._run is None else self._run.datamodule
        assert found is None or isinstance(found, LightningDataModule), "entry points take no other"
        return found

    @datamodule.setter
    def datamodule(self, datamodule: LightningDataModule | None) -> None:
        holder = self._idle if self._run is None else self._run
        holder.datamodule = datamodule

    @property
    def optimizers(self) -> list[Any]:
        """The optimizers of the newest fit, as ``configure_optimizers`` returned them."""
        return self._training.optimizers.plain

    @optimizers.setter
    def optimizers(self, optimizers: list[Any]) -> None:
        self._training.optimizers.plain = optimizers

    @property
    def lr_scheduler_configs(self) -> list[LRSchedulerConfig]:
        """Their schedulers, and when they step. Others that are set here step from the next batch on."""
        return self._training.optimizers.configs

    @lr_scheduler_configs.setter
    def lr_scheduler_configs(self, configs: list[LRSchedulerConfig]) -> None:
        self._training.optimizers.schedule(configs)

    @property
    def callbacks(self) -> list[Callback]:
        """All callbacks, in the order in which they are called."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: list[Callback]) -> None:
        # Another list: who kept the one before may put it back.
        self._callbacks = list(callbacks)
        if self._run is not None:
            self._run.call_back(cast("list[CallbackLike]", self._callbacks))

    @property
    def checkpoint_callbacks(self) -> list[Checkpoint]:
        """All callbacks that save."""
        return [callback for callback in self._callbacks if isinstance(callback, Checkpoint)]

    @property
    def checkpoint_callback(self) -> Checkpoint | None:
        """The first callback that saves, or None."""
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def early_stopping_callbacks(self) -> list[Any]:
        """All EarlyStopping callbacks."""
        return [callback for callback in self._callbacks if isinstance(callback, builtin().EARLY_STOPPING)]

    @property
    def early_stopping_callback(self) -> Any:
        """The first EarlyStopping callback, or None."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def progress_bar_callback(self) -> Any:
        """The callback that shows progress, or None."""
        return next((callback for callback in self._callbacks if isinstance(callback, builtin().PROGRESS)), None)

    @property
    def loggers(self) -> list[Logger]:
        """All loggers."""
        return self._loggers

    @loggers.setter
    def loggers(self, loggers: list[Logger] | None) -> None:
        self._loggers = list(loggers or ())
        if self._run is not None:
            self._run.record_to(self._loggers)

    @property
    def logger(self) -> Logger | None:
        """The first logger, or None."""
        return self.loggers[0] if self.loggers else None

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self.loggers = [] if logger is None else [logger]

    @property
    def log_dir(self) -> str | None:
        """Directory of the first logger, else ``default_root_dir``; rank 0's on every rank (a collective)."""
        logger = self.logger
        directory = self.default_root_dir if logger is None else logger.log_dir or logger.save_dir
        found: str | None = self.strategy.tell(
            os.fspath(directory) if isinstance(directory, os.PathLike) else directory
        )
        return found

    @property
    def default_root_dir(self) -> str:
        """Where files go when nothing else says so."""
        return in_full(self._options.default_root_dir)

    @property
    def ckpt_path(self) -> str | None:
        """File that the last run went on from. Set it for all runs not told otherwise; None takes that back."""
        return self._resumed_from if self._resumed_from is not None else self._kept_ckpt_path

    @ckpt_path.setter
    def ckpt_path(self, path: str | os.PathLike[str] | None) -> None:
        self._kept_ckpt_path = self._resumed_from = None if path is None else os.fspath(path)

    @property
    def enable_validation(self) -> bool:
        """Whether fit validates: there is a validation step, and a loader that is not limited to nothing."""
        return self._training.validation.possible

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int]:
        """Arguments of a DistributedSampler that cuts data as the trainer does."""
        data = self.strategy.data
        return {"num_replicas": data.size, "rank": data.rank} if data.size > 1 else {}

    @property
    def should_stop(self) -> bool:
        """Whether training is to end early: as soon as ``min_epochs`` and ``min_steps`` are met."""
        return self._stop.asked

    @should_stop.setter
    def should_stop(self, wanted: bool) -> None:
        self._stop.asked = wanted

    @property
    def received_sigterm(self) -> bool:
        """Whether the newest run ends, or has ended, by SIGTERM; a run in which it is set ends as by a signal."""
        return self._stop.by_sigterm

    @received_sigterm.setter
    def received_sigterm(self, received: bool) -> None:
        self._stop.sigterm = self._stop.by_sigterm = received

    @property
    def fit_loop(self) -> ShownFitLoop:
        """How far the newest fit is, and the limits of fits, under the names that loops have in Lightning."""
        from thunderhead.trainer.shown_loops import ShownFitLoop  # on demand: hardly any run asks

        return ShownFitLoop(self)

    @property
    def validate_loop(self) -> ShownEvaluationLoop:
        """The same of the newest ``validate``."""
        return self._shown_loop(TrainerFn.VALIDATING, "val")

    @property
    def test_loop(self) -> ShownEvaluationLoop:
        """The same of the newest ``test``."""
        return self._shown_loop(TrainerFn.TESTING, "test")

    @property
    def predict_loop(self) -> ShownEvaluationLoop:
        """The same of the newest ``predict``."""
        return self._shown_loop(TrainerFn.PREDICTING, "predict")

    def _shown_loop(self, fn: TrainerFn, stage: str) -> ShownEvaluationLoop:
        from thunderhead.trainer.shown_loops import ShownEvaluationLoop

        return ShownEvaluationLoop(self, self._evaluations.get(fn), stage)

    # --- where it stands -----------------------------------------------------------------------------------------

    @property
    def current_epoch(self) -> int:
        """Epochs completed."""
        return self._training.position.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps done, summed over optimizers."""
        return self._training.position.step

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch being trained is the last of its epoch."""
        return self._training.epoch.is_last_batch

    @property
    def interrupted(self) -> bool:
        """Whether the last run was ended by an exception."""
        return self.state.status == "interrupted"

    @property
    def training(self) -> bool:
        """In the training loop."""
        return self.state.stage is RunningStage.TRAINING

    @property
    def validating(self) -> bool:
        """In a validation loop."""
        return self.state.stage is RunningStage.VALIDATING

    @property
    def testing(self) -> bool:
        """In the test loop."""
        return self.state.stage is RunningStage.TESTING

    @property
    def predicting(self) -> bool:
        """In the prediction loop."""
        return self.state.stage is RunningStage.PREDICTING

    @property
    def sanity_checking(self) -> bool:
        """In the sanity check."""
        return self.state.stage is RunningStage.SANITY_CHECKING

    @property
    def evaluating(self) -> bool:
        """In validation, its sanity check, or test."""
        return self.validating or self.testing or self.sanity_checking

    # --- what it measured ----------------------------------------------------------------------------------------

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Newest values for callbacks, by name, as tensors without dimensions."""
        return self._metrics.callback

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """Newest values for loggers."""
        return self._metrics.logged

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """Newest values for the progress bar."""
        return self._metrics.bar

    # --- its data ------------------------------------------------------------------------------------------------

    @property
    def train_dataloader(self) -> Iterable[Any] | None:
        """The training loader or loaders, cut to this rank; None before they are loaded."""
        data = self._training.data
        return None if data is None else data.combined.iterables

    @property
    def val_dataloaders(self) -> Iterable[Any] | None:
        """The validation loader or loaders, None before they are loaded."""
        return self._shown(self._validation)

    @property
    def test_dataloaders(self) -> Iterable[Any] | None:
        """The test loader or loaders, None before they are loaded."""
        return self._shown(self._evaluations.get(TrainerFn.TESTING))

    @property
    def predict_dataloaders(self) -> Iterable[Any] | None:
        """The prediction loader or loaders, None before they are loaded."""
        return self._shown(self._evaluations.get(TrainerFn.PREDICTING))

    @property
    def num_training_batches(self) -> float:
        """Training batches per epoch on this rank; infinite where unknown."""
        data = self._training.data
        return float("inf") if data is None else data.num_batches

    @property
    def num_val_batches(self) -> list[float]:
        """Validation batches per loader."""
        return self._counted(self._validation)

    @property
    def num_sanity_val_batches(self) -> list[float]:
        """Batches per loader in the sanity check."""
        return [min(self.num_sanity_val_steps, limit) for limit in self.num_val_batches]

    @property
    def num_test_batches(self) -> list[float]:
        """Test batches per loader."""
        return self._counted(self._evaluations.get(TrainerFn.TESTING))

    @property
    def num_predict_batches(self) -> list[float]:
        """Prediction batches per loader."""
        return self._counted(self._evaluations.get(TrainerFn.PREDICTING))

    @property
    def device(self) -> torch.device:
        """Where the module and its batches are."""
        return self.strategy.root_device

    def _steps_outside_of_fit(self) -> OptimizerSteps:
        """For a backward by hand in an evaluation, as those that adapt a module to its data do."""
        return OptimizerSteps(self._attached(), self._training.position)

    def _attached(self) -> Run:
        if self._run is None:
            raise AttributeError("the Trainer has no module yet; pass one to fit, validate, test or predict")
        return self._run

    @property
    def val_check_batch(self) -> float | None:
        """Training batches between validations, once their number is known; None where a clock says when."""
        return self._training.val_check_batch

    @val_check_batch.setter
    def val_check_batch(self, batches: float | None) -> None:
        self._training.val_check_batch = batches

    @property
    def estimated_stepping_batches(self) -> float:
        """Optimizer steps of the whole run; infinite where there is no limit. Loads the training data if need be."""
        unlimited = unlimited_epochs(self._options)
        if unlimited is not None:
            return unlimited
        return estimated_stepping_batches(self._attached(), self._training)
