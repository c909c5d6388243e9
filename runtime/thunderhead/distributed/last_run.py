"""Whether an error ends this process: what decides at its end how long anybody is waited for.

Without torch, as who starts processes needs none.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass
class LastRun:
    """How this process's newest run ended, for those who act at the process's end.

    A script may catch the error, and exit with a code of its own or go on. Only the class is kept: an error holds the
    frames it came through, and they the memory that a next attempt needs.

    Attributes:
        error: what ended it; None once the next one begins.
    """

    error: type[BaseException] | None = None


LAST_RUN = LastRun()


def uncaught_error() -> type[BaseException] | None:
    """The class of the error that ends this process with a traceback, if one does."""
    error: BaseException | None = getattr(sys, "last_value", None)
    return None if error is None else type(error)


def error_at_end() -> type[BaseException] | None:
    """The class of the error that ended the newest run, or ends this process; None where all went well."""
    return LAST_RUN.error or uncaught_error()
