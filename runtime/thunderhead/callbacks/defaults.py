"""The built-in callbacks that a Trainer adds, looks for or prints with; loaded by it, and by nobody else."""

from __future__ import annotations

from datetime import timedelta

from thunderhead.callbacks.early_stopping import EarlyStopping
from thunderhead.callbacks.model_checkpoint import ModelCheckpoint
from thunderhead.callbacks.model_summary import ModelSummary, default_summary
from thunderhead.callbacks.progress import ProgressBar, default_progress, print_results
from thunderhead.callbacks.requeue import SLURMRequeue
from thunderhead.callbacks.timer import Timer
from thunderhead.distributed.batch_systems import SLURMEnvironment
from thunderhead.user.callback import Callback

__all__ = [
    "EARLY_STOPPING",
    "PROGRESS",
    "SUMMARY",
    "TIMER",
    "checkpoint",
    "print_results",
    "progress",
    "requeue",
    "summary",
    "timer",
]

EARLY_STOPPING: type[Callback] = EarlyStopping
PROGRESS: type[Callback] = ProgressBar
SUMMARY: type[Callback] = ModelSummary
TIMER: type[Callback] = Timer


def checkpoint() -> Callback:
    """What saves where nobody else does."""
    return ModelCheckpoint()


def progress() -> Callback:
    """What shows progress where nobody else does."""
    return default_progress()


def summary() -> Callback:
    """What prints what the module is made of."""
    return default_summary()


def requeue(environment: SLURMEnvironment) -> Callback:
    """What saves and requeues a SLURM job when its time is up."""
    return SLURMRequeue(environment)


def timer(duration: timedelta) -> Callback:
    """What ends training after ``max_time``."""
    return Timer(duration, interval="step")
