"""A run that begins with a ``.ckpt`` file: which, what of it is this rank's, and where training goes on."""

from __future__ import annotations

from typing import Any

from thunderhead.checkpoint import content
from thunderhead.exceptions import MisconfigurationException
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.warning import say


def load_file(run: Run, path: str | None, weights_only: bool | None) -> dict[str, Any] | None:
    """The content of a file; None for none."""
    if path is None:
        return None
    loaded = run.strategy.load_checkpoint(path, weights_only=weights_only)
    if not run.fitting:
        say(f"Trainer.{run.state.fn} takes the weights of {path!r}")
        return loaded
    return content.of_this_rank(run, loaded)


def resume_training(run: Run, training: Training, loaded: dict[str, Any], path: str | None) -> None:
    """Optimizers, schedulers, precision and position of a file, or of a job's checkpoint, which has no path.

    Raises:
        MisconfigurationException: it was taken after more epochs than this run is to have.
    """
    training.left.file = None
    content.restore_training(run, training, loaded)
    position, max_epochs = training.position, run.options.max_epochs
    training.left.data = content.training_data_of(loaded, position)
    done = position.epochs_trained
    if max_epochs not in (None, -1) and done > max_epochs:
        raise MisconfigurationException(
            f"the checkpoint was taken after {done} epochs, but max_epochs={max_epochs}; raise it to go on"
        )
    if path is not None:
        batch = f", batch {position.batch}" if position.batch and done == position.epoch else ""
        say(f"Trainer.fit goes on from {path!r}: epoch {done}{batch}, step {position.step}")
    if run.options.reload_dataloaders_every_n_epochs:
        # Loaded by somebody's question while the epoch was not known yet.
        training.data = None


def put_gradients_back(run: Run, training: Training) -> None:
    """Those of an accumulation window in the midst of which the file was written."""
    gradients = training.left.take("gradients")
    if gradients is None:
        return
    assert training.optimizers.steps is not None, "made before anything is restored"
    training.optimizers.steps.unstepped = not run.module.automatic_optimization
    run.strategy.load_gradients(run.module, gradients)
