"""How many batches, samples and operations per second a run does, in the loggers."""

from __future__ import annotations

import time
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch

from thunderhead.core.hooks import StepOutput
from thunderhead.core.state import RunningStage, TrainerFn
from thunderhead.exceptions import MisconfigurationException
from thunderhead.throughput import Throughput, get_available_flops
from thunderhead.user.callback import Callback
from thunderhead.warning import warn, warn_once

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class _Count:
    """One stage: what it has done since ``began``."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput
        self.began = 0.0
        self.ended = 0.0
        self.forget()

    def forget(self) -> None:
        self.throughput.reset()
        self.batches = self.samples = self.lengths = 0


class ThroughputMonitor(Callback):
    """Logs batches, samples and items per second, and with the module's ``flops_per_batch`` the operations, too.

    ``flops_per_batch``, an attribute or property, is what a batch costs, as ``measure_flops`` says; with it the record
    has ``device/mfu``, the share of what the device could do at most. Names begin with the stage: ``train/time``. It
    is measured on rank 0, over a window of batches; time spent in validation does not count for training.

    Args:
        batch_size_fn: the number of samples in a batch.
        length_fn: the number of items in a batch, such as tokens.
        clock: seconds, ever increasing.
        **kwargs: of ``Throughput``: ``window_size``, ``separator``, and ``available_flops`` where the device is none of
            those that are known.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """

    def __init__(
        self,
        batch_size_fn: Callable[[Any], int],
        length_fn: Callable[[Any], int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        **kwargs: Any,
    ) -> None:
        for name, function in (("batch_size_fn", batch_size_fn), ("length_fn", length_fn)):
            if not callable(function) and (function is not None or name == "batch_size_fn"):
                raise MisconfigurationException(f"ThroughputMonitor: {name}={function!r} must be a function of a batch")
        Throughput(**kwargs)  # what it refuses shows now
        self.kwargs = kwargs
        self.batch_size_fn, self.length_fn = batch_size_fn, length_fn
        self.available_flops: float | None = kwargs.get("available_flops")
        self._clock = clock
        self._counts: dict[RunningStage, _Count] = {}
        self._has_flops: bool | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out what the device could do."""
        if "available_flops" not in self.kwargs:
            self.available_flops = get_available_flops(
                trainer.strategy.root_device, trainer.precision_plugin.compute_dtype
            )
        options = {"world_size": trainer.world_size, **self.kwargs, "available_flops": self.available_flops}
        stages = [trainer.state.stage]
        if trainer.state.fn is TrainerFn.FITTING and trainer.enable_validation:
            stages.append(RunningStage.VALIDATING)
        for each in stages:
            assert each is not None, "a run has begun"
            self._counts[each] = _Count(Throughput(**options))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time begins."""
        self._start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: Any, batch_idx: int
    ) -> None:
        """Count, and log once the optimizer has stepped, if it is time."""
        steps = trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        self._update(trainer, pl_module, batch, step=None, logs=steps)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Its time begins."""
        if not trainer.sanity_checking:
            self._start(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count, and log if it is time."""
        if not trainer.sanity_checking:
            self._evaluated(trainer, pl_module, batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training's time goes on from where it was."""
        train, val = (self._counts.get(stage) for stage in (RunningStage.TRAINING, RunningStage.VALIDATING))
        if train is None or val is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        train.began += self._clock() - train.ended

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time begins."""
        self._start(trainer)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count, and log if it is time."""
        self._evaluated(trainer, pl_module, batch)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time begins."""
        self._start(trainer)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count, and log if it is time."""
        self._evaluated(trainer, pl_module, batch)

    def _start(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        stage = trainer.state.stage
        assert stage is not None, "a run has begun"
        count = self._counts[stage]
        count.forget()
        count.began = count.ended = self._clock()

    def _evaluated(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        if trainer.is_global_zero:
            self._update(trainer, pl_module, batch, step=trainer.batches_evaluated, logs=True)

    def _update(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, *, step: int | None, logs: bool
    ) -> None:
        if not trainer.is_global_zero:
            return
        stage = trainer.state.stage
        assert stage is not None, "a run has begun"
        count, logs = self._counts[stage], logs and trainer.records_now
        if logs and trainer.strategy.root_device.type != "cpu":
            # Else the clock says when work was handed to the device; between two records its queue is as good as empty.
            torch.accelerator.synchronize()
        if not self._count(count, batch):
            return
        count.ended = self._clock()
        count.throughput.update(
            time=count.ended - count.began,
            batches=count.batches,
            samples=count.samples,
            lengths=None if self.length_fn is None else count.lengths,
            flops=self._flops(pl_module),
        )
        if logs:
            separator = count.throughput.separator
            found = {f"{stage}{separator}{name}": value for name, value in count.throughput.compute().items()}
            trainer.log_record(found, step=step)

    def _count(self, count: _Count, batch: Any) -> bool:
        """Whether the batch could be counted; what cannot is told, and no reason to end training."""
        with torch.no_grad():
            samples = self.batch_size_fn(batch)
            lengths = 0 if self.length_fn is None else self.length_fn(batch)
        if not _fits("batch_size_fn", samples, 1):
            return False
        if self.length_fn is not None and not _fits("length_fn", lengths, samples):
            return False
        count.samples += samples
        count.lengths += lengths
        count.batches += 1
        return True

    def _flops(self, module: LightningModule) -> float | None:
        if self._has_flops is None:
            self._has_flops = hasattr(module, "flops_per_batch")
            if not self._has_flops:
                warn(
                    f"ThroughputMonitor: {type(module).__name__} has no flops_per_batch, so neither operations per "
                    "second nor MFU are logged; set it to what thunderhead.throughput.measure_flops says"
                )
        found: float | None = module.flops_per_batch if self._has_flops else None  # type: ignore[assignment]  # user's
        return found


def _fits(name: str, found: object, least: float | torch.Tensor) -> bool:
    if isinstance(found, (Real, torch.Tensor)) and not found < least:
        return True
    warn_once(
        f"ThroughputMonitor: {name} gave {found!r} for a batch, which is left out of the rates; it must "
        f"give a number of at least {least}"
    )
    return False
