"""The one way from the Trainer up to the callbacks that stand above it: by name, as those of packages are found.

They know the Trainer, whose doors they use; it knows of them what this protocol says.
"""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Protocol, cast

from thunderhead.core.hooks import CallbackLike
from thunderhead.distributed.batch_systems import SLURMEnvironment


class Builtin(Protocol):
    """See ``thunderhead.callbacks.defaults``."""

    EARLY_STOPPING: type
    PROGRESS: type
    SUMMARY: type
    TIMER: type

    def checkpoint(self) -> CallbackLike:
        """What saves where nobody else does."""

    def progress(self) -> CallbackLike:
        """What shows progress where nobody else does."""

    def summary(self) -> CallbackLike:
        """What prints what the module is made of."""

    def requeue(self, environment: SLURMEnvironment) -> CallbackLike:
        """What saves and requeues a SLURM job when its time is up."""

    def timer(self, duration: timedelta) -> CallbackLike:
        """What ends training after ``max_time``."""

    def print_results(self, results: list[dict[str, float]], stage: str) -> None:
        """Print what validate and test found."""


def builtin() -> Builtin:
    """They are imported at the first need: a progress bar costs more than all of the Trainer."""
    return cast(Builtin, import_module("thunderhead.callbacks.defaults"))
