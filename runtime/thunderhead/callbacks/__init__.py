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
    from thunderhead.callbacks.batch_size_finder import BatchSizeFinder
    from thunderhead.callbacks.device_stats_monitor import DeviceStatsMonitor
    from thunderhead.callbacks.finetuning import BackboneFinetuning, BaseFinetuning
    from thunderhead.callbacks.lr_finder import LearningRateFinder
    from thunderhead.callbacks.prediction_writer import BasePredictionWriter
    from thunderhead.callbacks.pruning import ModelPruning
    from thunderhead.callbacks.spike import SpikeDetection
    from thunderhead.callbacks.stochastic_weight_avg import StochasticWeightAveraging
    from thunderhead.callbacks.throughput_monitor import ThroughputMonitor
    from thunderhead.callbacks.trial_pruning import TrialPruning
    from thunderhead.callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "Checkpoint",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "LineProgress",
    "ModelCheckpoint",
    "ModelPruning",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "RichProgressBarTheme",
    "SpikeDetection",
    "StepTrace",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "TerminalProgress",
    "ThroughputMonitor",
    "Timer",
    "TrialPruning",
    "WeightAveraging",
]

_ON_DEMAND: Final = {
    "BackboneFinetuning": "finetuning",
    "BaseFinetuning": "finetuning",
    "BasePredictionWriter": "prediction_writer",
    "BatchSizeFinder": "batch_size_finder",
    "DeviceStatsMonitor": "device_stats_monitor",
    "EMAWeightAveraging": "weight_averaging",
    "LearningRateFinder": "lr_finder",
    "ModelPruning": "pruning",
    "SpikeDetection": "spike",
    "StochasticWeightAveraging": "stochastic_weight_avg",
    "ThroughputMonitor": "throughput_monitor",
    "TrialPruning": "trial_pruning",
    "WeightAveraging": "weight_averaging",
}

if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__, _ON_DEMAND)
