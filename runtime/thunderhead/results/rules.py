"""Where ``self.log`` may be called, and what it does there unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from thunderhead.exceptions import MisconfigurationException


@dataclass(frozen=True, slots=True)
class LogRule:
    """How values logged in one hook behave.

    Attributes:
        on_step: logged per step by default.
        on_epoch: reduced over the epoch by default.
        step_allowed: whether ``on_step=True`` makes sense there.
    """

    on_step: bool
    on_epoch: bool
    step_allowed: bool


_TRAIN_BATCH: Final = LogRule(on_step=True, on_epoch=False, step_allowed=True)
_EVAL_BATCH: Final = LogRule(on_step=False, on_epoch=True, step_allowed=True)
_EPOCH: Final = LogRule(on_step=False, on_epoch=True, step_allowed=False)

RULES: Final[dict[str, LogRule]] = {
    **dict.fromkeys(
        (
            "training_step",
            "on_train_batch_start",
            "on_train_batch_end",
            "on_before_backward",
            "backward",
            "on_after_backward",
            "on_before_optimizer_step",
            "optimizer_step",
            "configure_gradient_clipping",
            "clip_gradients",
            "on_before_zero_grad",
            "optimizer_zero_grad",
        ),
        _TRAIN_BATCH,
    ),
    **dict.fromkeys(
        (
            "validation_step",
            "on_validation_batch_start",
            "on_validation_batch_end",
            "test_step",
            "on_test_batch_start",
            "on_test_batch_end",
        ),
        _EVAL_BATCH,
    ),
    **dict.fromkeys(
        (
            "on_train_start",
            "on_train_epoch_start",
            "on_train_epoch_end",
            "on_validation_start",
            "on_validation_epoch_start",
            "on_validation_epoch_end",
            "on_test_start",
            "on_test_epoch_start",
            "on_test_epoch_end",
        ),
        _EPOCH,
    ),
}


def resolve_levels(hook: str, on_step: bool | None, on_epoch: bool | None) -> tuple[bool, bool]:
    """``(on_step, on_epoch)`` for a call of ``self.log`` inside ``hook``.

    Raises:
        MisconfigurationException: values cannot be logged in this hook, not per step, or neither per step nor epoch.
    """
    rule = RULES.get(hook)
    if rule is None:
        raise MisconfigurationException(
            f"self.log cannot be used inside {hook or 'no hook'}: no epoch collects its values; "
            "use self.logger.log_metrics"
        )
    step = rule.on_step if on_step is None else on_step
    epoch = rule.on_epoch if on_epoch is None else on_epoch
    if not rule.step_allowed and (step or not epoch):
        raise MisconfigurationException(
            f"self.log(on_step={step}, on_epoch={epoch}) inside {hook}, which has no steps; "
            "there it must be on_step=False, on_epoch=True"
        )
    if not step and not epoch:
        raise MisconfigurationException("self.log(on_step=False, on_epoch=False) would record nothing; set one of them")
    return step, epoch
