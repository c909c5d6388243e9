"""What a Trainer holds: its choices, and its newest records."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from thunderhead.core.ending import Stop
from thunderhead.core.state import TrainerFn, TrainerState
from thunderhead.dead_overrides import TellsDeadOverrides
from thunderhead.distributed.base import Strategy
from thunderhead.layer_sync import LayerSync
from thunderhead.loggers.logger import Logger
from thunderhead.loops.fit import FitLoop
from thunderhead.precision import Precision
from thunderhead.profilers.profiler import PassThroughProfiler, Profiler
from thunderhead.ranks import Ranks
from thunderhead.results.metrics import Metrics
from thunderhead.results.sink import Sink
from thunderhead.run.evaluation import Evaluation
from thunderhead.run.options import Options
from thunderhead.run.run import Run
from thunderhead.run.training import Training, following, new_training
from thunderhead.trainer.option import Option
from thunderhead.user.callback import Callback
from thunderhead.user.datamodule import LightningDataModule


class Records(TellsDeadOverrides):
    """The base of the Trainer: every attribute of it is one of these, or a property over them."""

    max_epochs = Option[int]()  # None until a fit decides on it, which the type leaves out, as hooks see it later
    min_epochs = Option[int]()  # the same
    max_steps = Option[int]()
    min_steps = Option[int | None]()
    max_time = Option[timedelta | None]()
    limit_train_batches = Option[int | float]()
    limit_val_batches = Option[int | float]()
    limit_test_batches = Option[int | float]()
    limit_predict_batches = Option[int | float]()
    overfit_batches = Option[int | float]()
    val_check_interval = Option[int | float]()
    check_val_every_n_epoch = Option[int | None]()
    num_sanity_val_steps = Option[int | float]()
    log_every_n_steps = Option[int]()
    accumulate_grad_batches = Option[int]()
    gradient_clip_val = Option[float | None]()
    gradient_clip_algorithm = Option[str | None]()
    reload_dataloaders_every_n_epochs = Option[int]()
    fast_dev_run = Option[int | bool]()
    barebones = Option[bool]()
    detect_anomaly = Option[bool]()
    inference_mode = Option[bool]()
    use_distributed_sampler = Option[bool]()
    sync_batchnorm = Option[bool]()
    enable_autolog_hparams = Option[bool]()

    def __init__(
        self, options: Options, strategy: Strategy, precision: Precision, layer_sync: LayerSync | None
    ) -> None:
        self._options = options
        self.strategy = strategy
        self.precision_plugin = precision
        self._layer_sync = layer_sync
        self.profiler: Profiler = PassThroughProfiler()
        # The newest run holds the same lists.
        self._callbacks: list[Callback] = []
        self._loggers: list[Logger] = []
        self._kept_ckpt_path: str | None = None
        self._resumed_from: str | None = None
        self._run: Run | None = None
        self._training: Training = new_training(host=strategy.root_device.type == "cpu")
        self._fit_loop: FitLoop | None = None
        self._evaluations: dict[TrainerFn, Evaluation] = {}
        self._idle = Idle(strategy, self._loggers)

    # --- its records ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> TrainerState:
        """Entry point, stage and status."""
        return self._idle.state if self._run is None else self._run.state

    @state.setter
    def state(self, state: TrainerState) -> None:
        holder = self._idle if self._run is None else self._run
        holder.state = state

    @property
    def _stop(self) -> Stop:
        return self._idle.stop if self._run is None else self._run.stop

    @property
    def _sink(self) -> Sink:
        return self._idle.sink if self._run is None else self._run.sink

    @property
    def _metrics(self) -> Metrics:
        return self._idle.metrics if self._run is None else self._run.metrics

    @property
    def _validation(self) -> Evaluation | None:
        if self.state.fn is TrainerFn.VALIDATING:
            return self._evaluations.get(TrainerFn.VALIDATING)
        return self._training.validation

    def _next_training(self) -> Training:
        """What the next fit begins with."""
        host, every = self.strategy.root_device.type == "cpu", self._options.reload_dataloaders_every_n_epochs
        return following(self._training, host=host, reload_every=every)

    @staticmethod
    def _shown(evaluation: Evaluation | None) -> Iterable[Any] | None:
        return None if evaluation is None or evaluation.data is None else evaluation.data.shown

    @staticmethod
    def _counted(evaluation: Evaluation | None) -> list[float]:
        return [] if evaluation is None or evaluation.data is None else evaluation.data.num_batches


class Idle:
    """What a Trainer shows before its first run."""

    def __init__(self, ranks: Ranks, loggers: list[Logger]) -> None:
        self.state = TrainerState()
        self.datamodule: LightningDataModule | None = None
        self.stop = Stop()
        self.sink = Sink(ranks, loggers)
        self.metrics = Metrics(self.sink, ranks, loggers)
