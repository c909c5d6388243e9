"""Stopping when a metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from thunderhead.arguments import real_number, switch, whole_number
from thunderhead.exceptions import MetricNotLogged, MisconfigurationException, did_you_mean
from thunderhead.user.callback import Callback
from thunderhead.warning import notes, say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class EarlyStoppingReason(Enum):
    """Why EarlyStopping stopped."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


class EarlyStopping(Callback):
    """Ends training when ``monitor`` has not improved for ``patience`` checks. Any rank may stop all.

    Args:
        monitor: name of a logged metric.
        min_delta: smallest change that counts as an improvement.
        patience: checks without improvement until training stops; a check is a validation, or an epoch's end.
        verbose: say when the metric improves.
        mode: ``min`` or ``max``.
        strict: a missing metric is an error, else a warning.
        check_finite: stop when the metric is NaN or infinite.
        stopping_threshold: stop at once when the metric is at least this good.
        divergence_threshold: stop at once when it is worse than this.
        check_on_train_epoch_end: check at the end of each epoch rather than of each validation; by default only where
            validation runs exactly once per epoch.
        log_rank_zero_only: say it on rank 0 only.

    Attributes:
        stopped_epoch: epoch in which it stopped, 0 before.
        wait_count: checks since the last improvement.
        best_score: best value so far, a tensor.
        stopping_reason: why it stopped.
        stopping_reason_message: the same for people.

    Raises:
        MisconfigurationException: there is no such mode, or a name, number or switch is none.
    """

    acts_last = True
    mode_dict: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"min": torch.lt, "max": torch.gt}
    order_dict: ClassVar[dict[str, str]] = {"min": "<", "max": ">"}

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        if mode not in ("min", "max"):
            raise MisconfigurationException(f"EarlyStopping(mode={mode!r}) is neither 'min' nor 'max'")
        if not isinstance(monitor, str) or not monitor:
            raise MisconfigurationException(f"EarlyStopping: monitor={monitor!r} must be the name of a logged metric")
        self.monitor = monitor
        self.min_delta = abs(real_number("EarlyStopping: min_delta", min_delta))
        endless = patience == math.inf  # watches, for another threshold, without losing patience
        self.patience = patience if endless else whole_number("EarlyStopping: patience", patience, least=0)
        self.verbose = switch("EarlyStopping: verbose", verbose)
        self.mode = mode
        self.strict = switch("EarlyStopping: strict", strict)
        self.check_finite = switch("EarlyStopping: check_finite", check_finite)
        threshold = partial(real_number, optional=True)
        self.stopping_threshold = threshold("EarlyStopping: stopping_threshold", stopping_threshold)
        self.divergence_threshold = threshold("EarlyStopping: divergence_threshold", divergence_threshold)
        self.log_rank_zero_only = switch("EarlyStopping: log_rank_zero_only", log_rank_zero_only)
        self.wait_count = 0
        self.stopped_epoch = 0
        self.best_score = torch.tensor(math.inf if mode == "min" else -math.inf)
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self.stopping_reason_message: str | None = None
        self._check_on_train_epoch_end = switch(
            "EarlyStopping: check_on_train_epoch_end", check_on_train_epoch_end, optional=True
        )

    @property
    def state_key(self) -> str:
        """Told apart by metric and mode."""
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Decide when to check, unless that was said."""
        if self._check_on_train_epoch_end is None:
            self._check_on_train_epoch_end = trainer.validates_once_per_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check, if this is when."""
        if self._check_on_train_epoch_end and not self._should_skip_check(trainer):
            self._run_early_stopping_check(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check, if this is when."""
        if not self._check_on_train_epoch_end and not self._should_skip_check(trainer):
            self._run_early_stopping_check(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Patience left and best value."""
        return {
            "wait_count": self.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "best_score": self.best_score,
            "patience": self.patience,
            "stopping_reason": self.stopping_reason.value,
            "stopping_reason_message": self.stopping_reason_message,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on waiting where the saved run was."""
        # Files of Lightning before 0.10 hold the first and the last of these only.
        self.wait_count = state_dict["wait_count"]
        self.stopped_epoch = state_dict.get("stopped_epoch", self.stopped_epoch)
        self.best_score = state_dict.get("best_score", self.best_score)
        given, self.patience = self.patience, state_dict.get("patience", self.patience)
        if given != self.patience:
            warn(
                f"EarlyStopping(monitor={self.monitor!r}): the checkpoint's patience of {self.patience} stands, not "
                f"the {given} of now; assign patience in on_train_start to wait for longer or shorter"
            )
        self.stopping_reason = EarlyStoppingReason(state_dict.get("stopping_reason", 0))
        self.stopping_reason_message = state_dict.get("stopping_reason_message")

    def _should_skip_check(self, trainer: Trainer) -> bool:
        return trainer.state.fn != "fit" or trainer.sanity_checking or bool(trainer.fast_dev_run)

    # --- what subclasses override, by Lightning's names ----------------------------------------------------------

    @property
    def monitor_op(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Whether one value is better than another."""
        return self.mode_dict[self.mode]

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        """Look at the metric, and stop all ranks if any of them wants to."""
        metrics = trainer.callback_metrics
        if not self._validate_condition_metric(metrics, trainer):
            return
        stop, reason = self._evaluate_stopping_criteria(metrics[self.monitor].squeeze())
        stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            trainer.stop_together()
            self.stopped_epoch = trainer.current_epoch
        if reason and (stop or self.verbose):
            self._tell(trainer, reason)

    def _validate_condition_metric(self, logs: dict[str, Tensor], trainer: Trainer | None = None) -> bool:
        """Whether there is a value to look at."""
        current = logs.get(self.monitor)
        if current is None:
            hint = did_you_mean(self.monitor, logs)
            if "val" in self.monitor.lower() and trainer is not None and not trainer.enable_validation:
                hint = (
                    " No validation runs in this fit: it needs a validation_step, validation data and "
                    "limit_val_batches other than 0; or watch a metric of training."
                )
            message = (
                f"EarlyStopping watches {self.monitor!r}, which was not logged.{hint} There are {sorted(logs)}; "
                "log it with self.log, or set monitor to one of these"
            )
            if self.strict:
                raise MetricNotLogged(message)
            warn(message, RuntimeWarning)
        return current is not None

    def _tell(self, trainer: Trainer, reason: str) -> None:
        """Each rank has its own reason, unless values are synchronised; several of them say whose it is."""
        if trainer.world_size == 1:
            say(reason)
        elif not self.log_rank_zero_only or trainer.is_global_zero:
            notes().info("[rank %d] %s", trainer.global_rank, reason)

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        """``(stop, what to say)`` for a new value; updates patience and the best value."""
        value, best = current.item(), self.best_score.item()
        if self.check_finite and not math.isfinite(value):
            return self._stop(EarlyStoppingReason.NON_FINITE_METRIC, f"{self.monitor}={value} is not finite")
        if self.stopping_threshold is not None and self._better(value, self.stopping_threshold):
            text = f"{self.monitor}={value} is better than stopping_threshold={self.stopping_threshold}"
            return self._stop(EarlyStoppingReason.STOPPING_THRESHOLD, text)
        if self.divergence_threshold is not None and self._better(-value, -self.divergence_threshold):
            text = f"{self.monitor}={value} is worse than divergence_threshold={self.divergence_threshold}"
            return self._stop(EarlyStoppingReason.DIVERGENCE_THRESHOLD, text)
        delta = self.min_delta if self.mode == "max" else -self.min_delta
        if self._better(value - delta, best):
            said = self._improvement_message(current)
            self.best_score = current.detach().clone()
            self.wait_count = 0
            return False, said
        self.wait_count += 1
        if self.wait_count < self.patience:
            return False, None
        text = f"{self.monitor} did not improve in the last {self.wait_count} checks; best {best:.3f}"
        return self._stop(EarlyStoppingReason.PATIENCE_EXHAUSTED, text)

    def _improvement_message(self, current: Tensor) -> str | None:
        """What to say of a new best value; None for nothing, as of the first."""
        value, best = current.item(), self.best_score.item()
        return f"{self.monitor} improved from {best:.3f} to {value:.3f}" if math.isfinite(best) else None

    def _better(self, one: float, other: float) -> bool:
        return one < other if self.mode == "min" else one > other

    def _stop(self, reason: EarlyStoppingReason, message: str) -> tuple[bool, str]:
        self.stopping_reason, self.stopping_reason_message = reason, f"{message}; training stops"
        return True, self.stopping_reason_message
