"""Where a run will write: refused before anything is prepared or trained, if it cannot."""

from __future__ import annotations

from collections.abc import Iterator

from thunderhead.files.writable import Destination
from thunderhead.loggers.logger import Logger
from thunderhead.run.run import Run


def check_destinations(run: Run) -> None:
    """Try all directories of a run, on the rank that writes; ``fast_dev_run`` writes nothing.

    Raises:
        OSError: nothing can be written in one of them; the message names the argument to change.
        MisconfigurationException: one is a URL that nothing here opens.
    """
    if run.strategy.is_global_zero and not run.options.fast_dev_run:
        for destination in {one.directory: one for one in _destinations(run) if one is not None}.values():
            destination.check()


def _destinations(run: Run) -> Iterator[Destination | None]:
    """Directories that loggers and, in a fit, callbacks that save will write in."""
    for logger in run.loggers:
        # Loggers of Lightning and of others work as they are, and say nothing of their files.
        if isinstance(logger, Logger):
            yield logger._destination()
    for callback in run.callbacks if run.fitting else ():
        asked = getattr(callback, "_destination", None)
        if asked is not None:
            yield asked(run.caller)
