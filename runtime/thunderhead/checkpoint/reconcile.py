"""What a resume makes of settings that were edited since: the checkpoint's stand, unless asked otherwise."""

from __future__ import annotations

from typing import Final

from thunderhead.job import attached
from thunderhead.run.control import Control
from thunderhead.run.optimizer_settings import Made, differences
from thunderhead.run.optimizers import Optimizers
from thunderhead.warning import warn

_IN_JOB: Final = "set spec.checkpoint.settingsFrom: Module"
_BY_HAND: Final = "assign them to the optimizer's param_groups in on_train_start"


def reconcile(optimizers: Optimizers, before: Made, control: Control | None) -> bool:
    """Whether the settings of now are to be taken; says what differs, either way.

    Args:
        optimizers: just made.
        before: what they were made with in the run that wrote the checkpoint. Where it stands, it is what the
            checkpoints to come are written with: the difference is told at each resume, and can be taken at any.
        control: of a job, hears of it as well.
    """
    changed = differences(before, optimizers.made)
    if not changed:
        return False
    link = attached()
    if link is not None and link.policy.module_settings:
        tell(control, f"going on with the settings of configure_optimizers, not the checkpoint's: {'; '.join(changed)}")
        return True
    optimizers.made = before
    remedy = _BY_HAND if link is None else _IN_JOB
    tell(
        control,
        "the checkpoint's settings stand, not those that configure_optimizers makes now: "
        f"{'; '.join(changed)}. To train on with the new ones, {remedy}",
    )
    return False


def tell(control: Control | None, text: str) -> None:
    """Warn of what a resume made of an edit; in a job, tell whoever looks at the job as well."""
    warn(text)
    if control is not None:
        control.note(text)
