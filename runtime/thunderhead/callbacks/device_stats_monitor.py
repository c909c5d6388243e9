"""What devices say of their memory and load, in the loggers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from thunderhead.accelerators import cpu_stats as stats_of_cpu
from thunderhead.arguments import switch
from thunderhead.core.hooks import StepOutput
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.table import only_when_recorded
from thunderhead.user.callback import Callback

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class DeviceStatsMonitor(Callback):
    """Logs allocator and processor statistics before and after batches of training, validation and test.

    In those batches whose values the trainer records. Names are ``DeviceStatsMonitor.<hook>/<statistic>``.

    Args:
        cpu_stats: log the processor's too; by default where it is the device. Needs psutil.
        filter_keys: log only statistics whose name contains one of these; by default all.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """

    def __init__(self, cpu_stats: bool | None = None, filter_keys: Iterable[str] | None = None) -> None:
        self._cpu_stats = switch("DeviceStatsMonitor: cpu_stats", cpu_stats, optional=True)
        if isinstance(filter_keys, str) or (filter_keys is not None and not isinstance(filter_keys, Iterable)):
            raise MisconfigurationException(
                f"DeviceStatsMonitor: filter_keys={filter_keys!r} must be a list of parts of names, or None"
            )
        self._filter_keys = None if filter_keys is None else tuple(filter_keys)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to measure for nobody.

        Raises:
            MisconfigurationException: there is no logger, or psutil is needed and not installed.
        """
        if stage == "predict":  # of which nothing is logged
            return
        if not trainer.loggers:
            raise MisconfigurationException(
                "DeviceStatsMonitor has no logger to write to; give the Trainer one, or drop the callback"
            )
        self._measured(trainer)  # what is lacking shows now, and not at the first record

    @only_when_recorded
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Log."""
        self._log(trainer, "on_train_batch_start")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: object, batch_idx: int
    ) -> None:
        """Log."""
        self._log(trainer, "on_train_batch_end")

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log."""
        self._log(trainer, "on_validation_batch_start")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log."""
        self._log(trainer, "on_validation_batch_end")

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log."""
        self._log(trainer, "on_test_batch_start")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log."""
        self._log(trainer, "on_test_batch_end")

    def _log(self, trainer: Trainer, hook: str) -> None:
        if not trainer.records_now:
            return
        measured = self._measured(trainer)
        for logger in trainer.loggers if measured else ():
            separator = getattr(logger, "group_separator", "/")
            prefix = f"{type(self).__qualname__}.{hook}{separator}"
            logger.log_metrics({prefix + name: value for name, value in measured.items()}, step=trainer.logger_step)

    def _measured(self, trainer: Trainer) -> dict[str, Any]:
        device = trainer.strategy.root_device
        on_cpu = device.type == "cpu"
        found = {} if on_cpu and self._cpu_stats is False else dict(trainer.accelerator.get_device_stats(device))
        if self._cpu_stats and not on_cpu:
            found.update(stats_of_cpu())
        wanted = self._filter_keys
        return found if wanted is None else {k: v for k, v in found.items() if any(part in k for part in wanted)}
