"""Ending a trial of an Optuna study early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thunderhead.exceptions import MetricNotLogged, MisconfigurationException, did_you_mean
from thunderhead.user.callback import Callback

if TYPE_CHECKING:
    from optuna.trial import Trial

    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class TrialPruning(Callback):
    """Reports ``monitor`` to a trial after each validation, and raises ``optuna.TrialPruned`` where Optuna says so.

    Without validation the end of each epoch counts. On several ranks rank 0 reports, and all are ended together; its
    value counts, so log with ``sync_dist=True``. With ``ddp_spawn`` the study needs a storage that processes share.
    An epoch has one value in Optuna: the first that is reported, also where a run goes on inside of it.

    Args:
        trial: of a study of one objective.
        monitor: name of a logged metric.

    Raises:
        MisconfigurationException: ``monitor`` is no name.
    """

    acts_last = True

    def __init__(self, trial: Trial, monitor: str) -> None:
        if not isinstance(monitor, str) or not monitor:
            raise MisconfigurationException(f"TrialPruning: monitor={monitor!r} must be the name of a logged metric")
        self.monitor = monitor
        self._trial = trial
        self._reported: set[int] = set()

    @property
    def state_key(self) -> str:
        """Told apart by metric."""
        return self._generate_state_key(monitor=self.monitor)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report, and end the trial if it is to end."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._report(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same where nothing is validated."""
        if not trainer.enable_validation:
            self._report(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The epochs that were reported."""
        return {"reported": sorted(self._reported)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Report no epoch again."""
        self._reported = set(state_dict["reported"])

    def _report(self, trainer: Trainer) -> None:
        metrics, epoch = trainer.callback_metrics, trainer.current_epoch
        value = metrics.get(self.monitor)
        if value is None:
            raise MetricNotLogged(
                f"TrialPruning reports {self.monitor!r}, which was not logged.{did_you_mean(self.monitor, metrics)} "
                f"There are {sorted(metrics)}; log it with self.log, or set monitor to one of these"
            )
        ends = False
        if trainer.is_global_zero and epoch not in self._reported:
            self._trial.report(float(value), epoch)
            ends = self._trial.should_prune()
        self._reported.add(epoch)
        if trainer.strategy.reduce_boolean_decision(ends, all=False):
            from optuna import TrialPruned  # there, where a trial is

            raise TrialPruned(f"trial pruned in epoch {epoch}: {self.monitor}={float(value):.4g}")
