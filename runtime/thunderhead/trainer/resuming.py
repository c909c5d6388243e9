"""A run that begins with a ``.ckpt`` file: which, what of it is this rank's, and where training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thunderhead.checkpoint import content, file
from thunderhead.exceptions import MisconfigurationException
from thunderhead.warning import say

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def load_file(trainer: Trainer, ckpt_path: Any, weights_only: bool | None) -> dict[str, Any] | None:
    """The content of the file that ``ckpt_path`` means; None where it means none."""
    path = file.resolve(trainer, ckpt_path if ckpt_path is not None else trainer._kept_ckpt_path)
    trainer._resumed_from = path
    if path is None:
        return None
    loaded = trainer.strategy.load_checkpoint(path, weights_only=weights_only)
    if trainer._fn != "fit":
        say(f"Trainer.{trainer._fn} takes the weights of {path!r}")
        return loaded
    return content.of_this_rank(trainer, loaded)


def resume_training(trainer: Trainer, loaded: dict[str, Any], path: str | None) -> None:
    """Optimizers, schedulers, precision and position of a file, or of a job's checkpoint, which has no path.

    Raises:
        MisconfigurationException: it was taken after more epochs than this run is to have.
    """
    position = trainer._position = content.restore_training(trainer, loaded)
    trainer._resume_training_data = content.training_data_of(loaded, position)
    if trainer.max_epochs != -1 and position.epoch > trainer.max_epochs:
        raise MisconfigurationException(
            f"the checkpoint was taken after {position.epoch} epochs, but max_epochs={trainer.max_epochs}; "
            "raise it to go on"
        )
    if path is not None:
        batch = f", batch {position.batch}" if position.batch else ""
        say(f"Trainer.fit goes on from {path!r}: epoch {position.epoch}{batch}, step {position.step}")
