"""Types that signatures of Lightning modules are annotated with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NotRequired, Required, TypedDict

from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from thunderhead.core.hooks import StepOutput
from thunderhead.core.optimization import LRSchedulerConfig

__all__ = ["DistributedDataParallel", "LRSchedulerConfig"]

STEP_OUTPUT = StepOutput
TRAIN_DATALOADERS = Iterable[Any]  # of batches, or a collection of such
EVAL_DATALOADERS = Iterable[Any]

LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerTypeUnion = LRScheduler | ReduceLROnPlateau
LRSchedulerPLType = LRSchedulerTypeUnion
LRSchedulerType = type[LRScheduler] | type[ReduceLROnPlateau]


class LRSchedulerConfigType(TypedDict, total=False):
    """The dict that ``configure_optimizers`` may return for a scheduler."""

    scheduler: Required[LRSchedulerTypeUnion]
    name: str | None
    interval: str
    frequency: int
    reduce_on_plateau: bool
    monitor: str | None
    strict: bool


class OptimizerConfig(TypedDict):
    """The dict that ``configure_optimizers`` may return, without a scheduler."""

    optimizer: Optimizer


class OptimizerLRSchedulerConfig(TypedDict):
    """The dict that ``configure_optimizers`` may return."""

    optimizer: Optimizer
    lr_scheduler: LRSchedulerTypeUnion | LRSchedulerConfigType
    monitor: NotRequired[str]


OptimizerLRScheduler = (
    Optimizer
    | Sequence[Optimizer]
    | tuple[Sequence[Optimizer], Sequence[LRSchedulerTypeUnion | LRSchedulerConfig]]
    | OptimizerConfig
    | OptimizerLRSchedulerConfig
    | Sequence[OptimizerConfig]
    | Sequence[OptimizerLRSchedulerConfig]
    | None
)


class GradClipAlgorithmType(StrEnum):
    """Ways to clip gradients."""

    VALUE = "value"
    NORM = "norm"

    @staticmethod
    def supported_type(val: str) -> bool:
        """Whether there is such a way."""
        return val in ("value", "norm")

    @staticmethod
    def supported_types() -> list[str]:
        """All ways."""
        return ["value", "norm"]
