"""Callbacks: code that runs at moments of a run."""

from thunderhead.callbacks.callback import Callback, Checkpoint
from thunderhead.callbacks.early_stopping import EarlyStopping
from thunderhead.callbacks.lambda_callback import LambdaCallback
from thunderhead.callbacks.model_checkpoint import ModelCheckpoint
from thunderhead.callbacks.progress import LineProgress, ProgressBar, TerminalProgress
from thunderhead.callbacks.step_trace import StepTrace
from thunderhead.callbacks.timer import Timer

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "LambdaCallback",
    "LineProgress",
    "ModelCheckpoint",
    "ProgressBar",
    "StepTrace",
    "TerminalProgress",
    "Timer",
]
