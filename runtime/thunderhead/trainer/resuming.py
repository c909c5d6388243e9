"""A run that begins with a ``.ckpt`` file: which, what of it is this rank's, and where training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thunderhead.checkpoint import content, file
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loops.position import Position
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
    trainer._left.file = None
    position = trainer._position = content.restore_training(trainer, loaded)
    trainer._left.data = content.training_data_of(loaded, position)
    done = position.epochs_trained
    if trainer.max_epochs != -1 and done > trainer.max_epochs:
        raise MisconfigurationException(
            f"the checkpoint was taken after {done} epochs, but max_epochs={trainer.max_epochs}; raise it to go on"
        )
    if path is not None:
        batch = f", batch {position.batch}" if position.batch and done == position.epoch else ""
        say(f"Trainer.fit goes on from {path!r}: epoch {done}{batch}, step {position.step}")
    if trainer.reload_dataloaders_every_n_epochs:
        # Loaded by somebody's question while the epoch was not known yet.
        trainer.fit_loop.data = None


@contextmanager
def standing_at(trainer: Trainer, loaded: dict[str, Any] | None) -> Iterator[None]:
    """An evaluation of a file's weights belongs to the file's step and epoch, where the Trainer has none of its own."""
    own = trainer._position
    if loaded is not None and own == Position():
        trainer._position = content.position_in(loaded)
        trainer._position.epoch = trainer._position.epochs_trained
    try:
        yield
    finally:
        trainer._position = own


def put_gradients_back(trainer: Trainer) -> None:
    """Those of an accumulation window in the midst of which the file was written."""
    gradients = trainer._left.take("gradients")
    if gradients is None:
        return
    trainer._unstepped = not trainer.lightning_module.automatic_optimization
    for name, parameter in trainer.lightning_module.named_parameters():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter.device, copy=True)
