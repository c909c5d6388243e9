"""A ``.ckpt`` file of the exception that ended a run."""

from __future__ import annotations

from thunderhead.checkpoint import content
from thunderhead.core.ending import SIGTERMException
from thunderhead.run.moment import position_at_end
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.warning import say, warn


def tell_saved(exception: BaseException, path: str) -> None:
    """Say where the moment of ``exception`` is; of SIGTERM one line says everything, once the run has ended."""
    if isinstance(exception, SIGTERMException):
        exception.saved.append(path)
    else:
        say(f"{type(exception).__name__}: saved {path}")


def write_ended(run: Run, training: Training, path: str, *, together: bool, weights_only: bool = False) -> None:
    """Write the running moment, for callbacks in ``on_exception``.

    Args:
        run: that ended.
        training: what it carried.
        path: file or URL; rank 0's counts.
        together: every rank calls this, so each gives its share; else rank 0 alone does, and asks nobody.
        weights_only: leave out optimizers, schedulers and callbacks.

    Raises:
        OSError: it could not be written.
    """
    if run.strategy.spreads and run.strategy.world_size > 1 and not together:
        raise OSError(
            f"{path!r} is not written: this rank holds a part of {type(run.module).__name__}, and of the other ranks "
            "nobody knows after an exception whether they still answer; resume from the newest checkpoint before it"
        )
    made = content.dump(run, training, position_at_end(run, training), weights_only=weights_only)
    if together:
        try:
            content.add_shares(made, content.gather_shares(run, made, ending=True))
        except (RuntimeError, TypeError) as error:
            # Somebody was killed meanwhile. What rank 0 has is still worth keeping.
            warn(f"{path} holds the state of rank 0 alone, for the other ranks gave none: {error}")
    run.strategy.save_checkpoint(made, path)
