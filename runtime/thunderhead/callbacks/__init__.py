"""Callbacks: code that runs at moments of a run.

Those of ``_ON_DEMAND`` are imported when they are first used: most runs need none of them.
"""

from typing import TYPE_CHECKING, Final

from thunderhead.callbacks.bars import TQDMProgressBar
from thunderhead.callbacks.early_stopping import EarlyStopping
from thunderhead.callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler
from thunderhead.callbacks.lambda_callback import LambdaCallback
from thunderhead.callbacks.lr_monitor import LearningRateMonitor
from thunderhead.callbacks.model_checkpoint import ModelCheckpoint
from thunderhead.callbacks.model_summary import ModelSummary, RichModelSummary
from thunderhead.callbacks.on_exception_checkpoint import OnExceptionCheckpoint
from thunderhead.callbacks.progress import LineProgress, ProgressBar, TerminalProgress
from thunderhead.callbacks.rich_bar import RichProgressBar, RichProgressBarTheme
from thunderhead.callbacks.step_trace import StepTrace
from thunderhead.callbacks.timer import Timer
from thunderhead.compat.unknown import refusing
from thunderhead.user.callback import Callback, Checkpoint

if TYPE_CHECKING:
    from thunderhead.callbacks.finetuning import BackboneFinetuning, BaseFinetuning
    from thunderhead.callbacks.prediction_writer import BasePredictionWriter
    from thunderhead.callbacks.stochastic_weight_avg import StochasticWeightAveraging
    from thunderhead.callbacks.trial_pruning import TrialPruning
    from thunderhead.callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "Callback",
    "Checkpoint",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateMonitor",
    "LineProgress",
    "ModelCheckpoint",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "RichProgressBarTheme",
    "StepTrace",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "TerminalProgress",
    "Timer",
    "TrialPruning",
    "WeightAveraging",
]

_ON_DEMAND: Final = {
    "BackboneFinetuning": "finetuning",
    "BaseFinetuning": "finetuning",
    "BasePredictionWriter": "prediction_writer",
    "EMAWeightAveraging": "weight_averaging",
    "StochasticWeightAveraging": "stochastic_weight_avg",
    "TrialPruning": "trial_pruning",
    "WeightAveraging": "weight_averaging",
}

if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__, _ON_DEMAND)
