"""Every setting of torch's schedulers, edited between a stop and a resume, is taken whole, and progress stays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedules

from thunderhead.core.optimization import LRSchedulerConfig
from thunderhead.run import optimizer_settings as settings

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


OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any], dict[str, Any]]] = {
    "amsgrad": (torch.optim.Adam, {}, {"amsgrad": True}),
    "amsgrad, fused": (torch.optim.AdamW, {"fused": True}, {"fused": True, "amsgrad": True}),
    "centered": (torch.optim.RMSprop, {}, {"centered": True}),
    "momentum": (torch.optim.RMSprop, {}, {"momentum": 0.9}),
    "momentum of SGD": (torch.optim.SGD, {}, {"momentum": 0.9}),
    "no momentum": (torch.optim.SGD, {"momentum": 0.9}, {"momentum": 0.0}),
    "betas": (torch.optim.AdamW, {}, {"betas": (0.8, 0.9), "weight_decay": 0.3, "eps": 1e-6}),
    "decay": (torch.optim.Adagrad, {}, {"lr_decay": 0.1}),
    "steps": (torch.optim.Rprop, {}, {"etas": (0.4, 1.3)}),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_edited_optimizer_is_taken_whole_and_steps(kind: str) -> None:
    """Also where a setting needs state that the run before had not kept."""
    make, before, after = OPTIMIZERS[kind]

    def trained(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> None:
        for _ in range(3):
            parameter.grad = torch.ones(2)
            optimizer.step()

    parameter, other = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    old, new = (make([p], **{"lr": 0.1, **how}) for p, how in ((parameter, before), (other, after)))  # type: ignore[call-arg]
    was, now = settings.made([old], []), settings.made([new], [])
    trained(old, parameter)
    wanted = copy.deepcopy(new.state_dict()["param_groups"])
    saved = copy.deepcopy(old.state_dict())
    new.load_state_dict(settings.optimizer_with_settings(saved, was["optimizers"][0], now["optimizers"][0]))
    settings.begin_new_state(new)
    assert new.state_dict()["param_groups"] == wanted
    trained(new, other)
    assert other.isfinite().all()
