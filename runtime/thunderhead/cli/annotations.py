"""Types that command lines and the modules they build are annotated with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from jsonargparse import Namespace
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class ReduceLROnPlateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """torch's scheduler, with the name of the metric that it watches.

    Args:
        optimizer: whose learning rate it lowers.
        monitor: the metric.
        *args: torch's arguments.
        **kwargs: torch's arguments.
    """

    def __init__(self, optimizer: Optimizer, monitor: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, *args, **kwargs)
        self.monitor = monitor


AUTOMATIC: Final = "AUTOMATIC"
"""In the place of an argument to link to: ``configure_optimizers`` is made of it."""

# Read by signatures at run time, so no strings; the plain scheduler of torch would not know what to watch.
LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerTypeUnion = LRScheduler | ReduceLROnPlateau
ArgsType = list[str] | dict[str, Any] | Namespace | None
OptimizerCallable = Callable[[Iterable[Any]], Optimizer]
LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]
