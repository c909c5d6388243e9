"""Every setting of torch's schedulers, edited between a stop and a resume, is taken whole, and progress stays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedules

from thunderhead.checkpoint import settings
from thunderhead.core.optimization import LRSchedulerConfig

Make = Callable[[torch.optim.Optimizer], Any]
KINDS: dict[str, tuple[Make, Make]] = {
    "StepLR": (lambda o: schedules.StepLR(o, 3), lambda o: schedules.StepLR(o, 4, gamma=0.3)),
    "MultiStepLR": (lambda o: schedules.MultiStepLR(o, [3, 9]), lambda o: schedules.MultiStepLR(o, [4])),
    "no step left": (lambda o: schedules.MultiStepLR(o, [3, 9]), lambda o: schedules.MultiStepLR(o, [])),
    "ConstantLR": (lambda o: schedules.ConstantLR(o, 0.5, 9), lambda o: schedules.ConstantLR(o, 0.25, 12)),
    "LinearLR": (lambda o: schedules.LinearLR(o, 0.5, 1, 9), lambda o: schedules.LinearLR(o, 0.25, 0.9, 12)),
    "ExponentialLR": (lambda o: schedules.ExponentialLR(o, 0.9), lambda o: schedules.ExponentialLR(o, 0.8)),
    "PolynomialLR": (lambda o: schedules.PolynomialLR(o, 9), lambda o: schedules.PolynomialLR(o, 12, 2.0)),
    "CosineAnnealingLR": (
        lambda o: schedules.CosineAnnealingLR(o, 9),
        lambda o: schedules.CosineAnnealingLR(o, 20, 0.01),
    ),
    "CosineAnnealingWarmRestarts": (
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 5),
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 6, 2, 0.01),
    ),
    "CyclicLR": (lambda o: schedules.CyclicLR(o, 0.01, 0.1, 5), lambda o: schedules.CyclicLR(o, 0.02, 0.2, 7)),
    "OneCycleLR": (
        lambda o: schedules.OneCycleLR(o, 0.1, 20),
        lambda o: schedules.OneCycleLR(o, 0.2, 40, pct_start=0.1),
    ),
    "ReduceLROnPlateau": (
        lambda o: schedules.ReduceLROnPlateau(o, patience=2),
        lambda o: schedules.ReduceLROnPlateau(o, patience=5, factor=0.3, min_lr=0.001),
    ),
    "SequentialLR": (
        lambda o: schedules.SequentialLR(o, [schedules.LinearLR(o, 0.1), schedules.MultiStepLR(o, [6])], [4]),
        lambda o: schedules.SequentialLR(o, [schedules.LinearLR(o, 0.2), schedules.MultiStepLR(o, [8, 9])], [5]),
    ),
    "ChainedScheduler": (
        lambda o: schedules.ChainedScheduler([schedules.ConstantLR(o, 0.5), schedules.ExponentialLR(o, 0.9)]),
        lambda o: schedules.ChainedScheduler([schedules.ConstantLR(o, 0.4), schedules.ExponentialLR(o, 0.7)]),
    ),
}


def without_progress(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: without_progress(value) for key, value in state.items() if key not in settings._PROGRESS}
    return [without_progress(each) for each in state] if isinstance(state, list | tuple) else state


def made(make: Make) -> tuple[torch.optim.Optimizer, Any, dict[str, Any]]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    scheduler = make(optimizer)
    return optimizer, scheduler, settings.made([optimizer], [LRSchedulerConfig(scheduler)])


def step(optimizer: torch.optim.Optimizer, scheduler: Any, times: int) -> None:
    for _ in range(times):
        optimizer.step()
        scheduler.step(*((1.0,) if isinstance(scheduler, schedules.ReduceLROnPlateau) else ()))


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")  # torch's, in SequentialLR
@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_schedule_is_taken_whole(kind: str) -> None:
    optimizer, scheduler, before = made(KINDS[kind][0])
    step(optimizer, scheduler, 7)
    saved = copy.deepcopy(scheduler.state_dict())
    optimizer, scheduler, now = made(KINDS[kind][1])
    wanted = copy.deepcopy(scheduler.state_dict())
    plan = settings.with_settings(saved, before["schedulers"][0], now["schedulers"][0], scheduler.state_dict())
    scheduler.load_state_dict(plan)
    found = scheduler.state_dict()
    assert without_progress(found) == without_progress(wanted)
    assert found.get("last_epoch") == saved.get("last_epoch")
    step(optimizer, scheduler, 3)
