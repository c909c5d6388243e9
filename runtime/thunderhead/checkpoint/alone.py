"""A ``.ckpt`` file written by one rank that asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thunderhead.checkpoint import content

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def write_alone(trainer: Trainer, path: str, *, weights_only: bool = False) -> None:
    """Write the running moment without a collective, for callbacks in ``on_exception``; call it on rank 0 only.

    Args:
        trainer: whose state.
        path: file or URL.
        weights_only: leave out optimizers, schedulers and callbacks.

    Raises:
        OSError: it could not be written.
    """
    made = content.dump(trainer, trainer.fit_loop.position_for_file(), weights_only=weights_only)
    trainer.strategy.save_checkpoint(made, path)
