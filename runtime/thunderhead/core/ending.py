"""Ends before a run's limits: those that somebody asks for, SIGTERM's and Ctrl-C's."""

from __future__ import annotations

import signal
from dataclasses import dataclass


class SIGTERMException(SystemExit):
    """The process was asked to end by SIGTERM; all ranks raise it after the same step.

    Attributes:
        saved: checkpoints of that step, written by callbacks that were told of it.
    """

    def __init__(self, code: int = 128 + signal.SIGTERM) -> None:
        super().__init__(code)
        self.saved: list[str] = []


class EndsWell(Exception):
    """Raised by a callback that has what the run was for: it ends there, torn down as after any, and nothing failed.

    Every rank must raise it at the same moment.
    """


class Interrupted(SystemExit, KeyboardInterrupt):
    """Ctrl-C ended a run, and callbacks have heard of it: a script that does not catch it ends with exit code 1."""

    def __init__(self, code: int = 1) -> None:
        super().__init__(code)


@dataclass(slots=True)
class Stop:
    """Whether a run is to end before its limits.

    Attributes:
        asked: ``trainer.should_stop``: what somebody on this rank wants.
        sigterm: this process got SIGTERM; what comes of it is for the loop to say.
        by_sigterm: ``trainer.received_sigterm``: the run ends by it.
    """

    asked: bool = False
    sigterm: bool = False
    by_sigterm: bool = False
