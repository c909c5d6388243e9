"""A ``.ckpt`` file of the exception that ended a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thunderhead.checkpoint import content
from thunderhead.loops.control import SIGTERMException
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def ended_together(trainer: Trainer, exception: BaseException) -> bool:
    """Whether every rank raises this after the same step, as after SIGTERM; of any other exception nobody knows."""
    return trainer.world_size > 1 and trainer.received_sigterm and isinstance(exception, SIGTERMException)


def tell_saved(exception: BaseException, path: str) -> None:
    """Say where the moment of ``exception`` is; of SIGTERM one line says everything, once the run has ended."""
    if isinstance(exception, SIGTERMException):
        exception.saved.append(path)
    else:
        say(f"{type(exception).__name__}: saved {path}")


def write_ended(trainer: Trainer, path: str, *, together: bool, weights_only: bool = False) -> None:
    """Write the running moment, for callbacks in ``on_exception``.

    Args:
        trainer: whose state.
        path: file or URL; rank 0's counts.
        together: every rank calls this, so each gives its share; else rank 0 alone does, and asks nobody.
        weights_only: leave out optimizers, schedulers and callbacks.

    Raises:
        OSError: it could not be written.
    """
    made = content.dump(trainer, trainer.fit_loop.position_at_end(), weights_only=weights_only)
    if together:
        try:
            content.add_shares(made, content.gather_shares(trainer, made, ending=True))
        except (RuntimeError, TypeError) as error:
            # Somebody was killed meanwhile. What rank 0 has is still worth keeping.
            warn(f"{path} holds the state of rank 0 alone, for the other ranks gave none: {error}")
    trainer.strategy.save_checkpoint(made, path)
