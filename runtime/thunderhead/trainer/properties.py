"""What users read from a trainer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thunderhead.accelerators import Accelerator
from thunderhead.callbacks.callback import Callback, Checkpoint
from thunderhead.loops.evaluate import EvaluationLoop
from thunderhead.loops.fit import FitLoop
from thunderhead.loops.position import Position
from thunderhead.precision import Precision
from thunderhead.results.metrics import Metrics
from thunderhead.trainer.state import RunningStage, TrainerFn, TrainerState

if TYPE_CHECKING:
    from thunderhead.core.datamodule import LightningDataModule
    from thunderhead.core.module import LightningModule
    from thunderhead.distributed.strategy import Strategy


class TrainerProperties:
    """Read-only views of a run, but for the few that have setters."""

    _callbacks: list[Callback]
    _kept_ckpt_path: str | None
    _resumed_from: str | None
    _fn: str | None
    _metrics: Metrics
    _module: LightningModule | None
    _position: Position
    _stage: str | None
    _test: EvaluationLoop
    _predict: EvaluationLoop
    _validate: EvaluationLoop
    _validation: EvaluationLoop
    datamodule: LightningDataModule | None
    fit_loop: FitLoop
    loggers: list[Any]
    lr_scheduler_configs: list[Any]
    num_sanity_val_steps: int | float
    optimizers: list[Any]
    precision_plugin: Precision
    state: TrainerState
    strategy: Strategy

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
        return self.strategy.place.num_nodes

    @property
    def num_devices(self) -> int:
        """Devices used on this node: one per process."""
        return self.strategy.place.local_world_size

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
    def scaler(self) -> Any:
        """The gradient scaler, where there is one."""
        return getattr(self.precision_plugin, "scaler", None)

    # --- what it runs --------------------------------------------------------------------------------------------

    @property
    def lightning_module(self) -> LightningModule:
        """The module being run.

        Raises:
            AttributeError: none is attached yet.
        """
        if self._module is None:
            raise AttributeError("the Trainer has no module yet; pass one to fit, validate, test or predict")
        return self._module

    @property
    def model(self) -> Any:
        """The module, or its wrapper where a strategy put one around it."""
        return self.strategy.model if self.strategy.model is not None else self._module

    @property
    def callbacks(self) -> list[Callback]:
        """All callbacks, in the order in which they are called."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: list[Callback]) -> None:
        self._callbacks = list(callbacks)

    @property
    def checkpoint_callbacks(self) -> list[Checkpoint]:
        """All callbacks that save."""
        return [callback for callback in self._callbacks if isinstance(callback, Checkpoint)]

    @property
    def checkpoint_callback(self) -> Any:
        """The first callback that saves, or None."""
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def early_stopping_callbacks(self) -> list[Any]:
        """All EarlyStopping callbacks."""
        from thunderhead.callbacks.early_stopping import EarlyStopping

        return [callback for callback in self._callbacks if isinstance(callback, EarlyStopping)]

    @property
    def early_stopping_callback(self) -> Any:
        """The first EarlyStopping callback, or None."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def progress_bar_callback(self) -> Any:
        """The callback that shows progress, or None."""
        from thunderhead.callbacks.progress import ProgressBar

        return next((callback for callback in self._callbacks if isinstance(callback, ProgressBar)), None)

    @property
    def logger(self) -> Any:
        """The first logger, or None."""
        return self.loggers[0] if self.loggers else None

    @logger.setter
    def logger(self, logger: Any) -> None:
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
        root: str = self._default_root_dir  # type: ignore[attr-defined]  # set by the constructor
        return root if "://" in root else os.path.normpath(os.path.expanduser(root))

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
        return self._validation.possible

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int]:
        """Arguments of a DistributedSampler that cuts data as the trainer does."""
        return {"num_replicas": self.world_size, "rank": self.global_rank} if self.world_size > 1 else {}

    # --- where it stands -----------------------------------------------------------------------------------------

    @property
    def current_epoch(self) -> int:
        """Epochs completed."""
        return self._position.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps done, summed over optimizers."""
        return self._position.step

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch being trained is the last of its epoch."""
        return self.fit_loop.is_last_batch

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
    def train_dataloader(self) -> Any:
        """The training loader or loaders, cut to this rank; None before they are loaded."""
        data = self.fit_loop.data
        return None if data is None else data.combined.iterables

    @property
    def val_dataloaders(self) -> Any:
        """The validation loader or loaders, None before they are loaded."""
        loop = self._validate if self._fn == TrainerFn.VALIDATING else self._validation
        return None if loop.data is None else loop.data.shown

    @property
    def test_dataloaders(self) -> Any:
        """The test loader or loaders, None before they are loaded."""
        return None if self._test.data is None else self._test.data.shown

    @property
    def predict_dataloaders(self) -> Any:
        """The prediction loader or loaders, None before they are loaded."""
        return None if self._predict.data is None else self._predict.data.shown

    @property
    def num_training_batches(self) -> float:
        """Training batches per epoch on this rank; infinite where unknown."""
        data = self.fit_loop.data
        return float("inf") if data is None else data.num_batches

    @property
    def num_val_batches(self) -> list[float]:
        """Validation batches per loader."""
        loop = self._validate if self._fn == TrainerFn.VALIDATING else self._validation
        return [] if loop.data is None else loop.data.num_batches

    @property
    def num_sanity_val_batches(self) -> list[float]:
        """Batches per loader in the sanity check."""
        return [min(self.num_sanity_val_steps, limit) for limit in self.num_val_batches]

    @property
    def num_test_batches(self) -> list[float]:
        """Test batches per loader."""
        return [] if self._test.data is None else self._test.data.num_batches

    @property
    def num_predict_batches(self) -> list[float]:
        """Prediction batches per loader."""
        return [] if self._predict.data is None else self._predict.data.num_batches

    @property
    def device(self) -> torch.device:
        """Where the module and its batches are."""
        return self.strategy.root_device
