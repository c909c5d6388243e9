"""What an entry point takes over from those before it on the same Trainer; everything else begins anew.

================================================  =====================================================================
goes on                                           begins anew
================================================  =====================================================================
epochs completed, optimizer and logger steps      the epoch that was interrupted, from its first batch
the x axis of validation's step values            loaders, and where they stand
what callbacks keep, the gradient scaler          optimizers and schedulers, from ``configure_optimizers``
the module, as it is; in the modes it had         metrics, gradients, why and whether training was to stop
================================================  =====================================================================

It makes no difference whether the run before was completed, failed or was interrupted, nor whether module and data are
the same. An epoch of which only hooks at its end were left counts as completed. A checkpoint takes the place of the
whole left side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thunderhead.data.reloading import LoadedIn
from thunderhead.job import attached
from thunderhead.loops.left import Left
from thunderhead.trainer.hook_table import is_overridden

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def follow(trainer: Trainer) -> None:
    """Make ready for the entry point, module and data that were just attached."""
    trainer.should_stop = False
    trainer._control, trainer._in_job = None, attached() is not None
    trainer._sigterm = trainer.received_sigterm = False
    trainer._left, trainer._hooks.running, trainer._unstepped = Left(), None, False
    if trainer._fn == "fit":
        trainer._loaded_in = LoadedIn(trainer.reload_dataloaders_every_n_epochs)
        trainer.fit_loop.begin_fit()
        trainer._validation.begin_fit(possible=_can_validate(trainer))


def has_loader(trainer: Trainer, stage: str) -> bool:
    """Whether somebody gives loaders for ``stage``: who called, the datamodule or the module."""
    if trainer._given_loaders.get(stage) is not None:
        return True
    hook = f"{stage}_dataloader"
    return is_overridden(hook, trainer.datamodule) or is_overridden(hook, trainer.lightning_module)


def _can_validate(trainer: Trainer) -> bool:
    has_step = is_overridden("validation_step", trainer.lightning_module)
    return has_step and has_loader(trainer, "val") and trainer.limit_val_batches != 0
