"""Where a run will write: refused before anything is prepared or trained, if it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thunderhead.checkpoint.writable import Destination
from thunderhead.loggers.logger import Logger

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def check_destinations(trainer: Trainer, fn: str) -> None:
    """Try all directories of a run, on the rank that writes; ``fast_dev_run`` writes nothing.

    Raises:
        OSError: nothing can be written in one of them; the message names the argument to change.
        MisconfigurationException: one is a URL that nothing here opens.
    """
    if trainer.is_global_zero and not trainer.fast_dev_run:
        for destination in destinations(trainer, fn):
            destination.check()


def destinations(trainer: Trainer, fn: str) -> list[Destination]:
    """Directories that loggers and, in a fit, callbacks that save will write in; each once."""
    # Loggers of Lightning and of others work as they are, and say nothing of their files.
    asked = [logger._destination() for logger in trainer.loggers if isinstance(logger, Logger)]
    if fn == "fit":
        asked += [callback._destination(trainer) for callback in trainer.checkpoint_callbacks]
    return list({one.directory: one for one in asked if one is not None}.values())
