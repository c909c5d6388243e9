"""What ``configure_optimizers`` may return, and what it means.

- an optimizer
- a list or tuple of optimizers
- two lists: optimizers, and schedulers (or scheduler dicts)
- a dict with ``optimizer`` and, if wanted, ``lr_scheduler``
- several such dicts
- None: no optimizer at all
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.warning import warn

if TYPE_CHECKING:
    from thunderhead.core.steps import Steps

_SCHEDULER_KEYS: Final = ("scheduler", "name", "interval", "frequency", "reduce_on_plateau", "monitor", "strict")
_OPTIMIZER_KEYS: Final = ("optimizer", "lr_scheduler", "monitor")


@dataclass
class LRSchedulerConfig:
    """A scheduler and when it steps.

    Attributes:
        scheduler: the torch scheduler, or any object with ``step`` and ``state_dict``.
        name: its name in logs.
        interval: ``epoch`` or ``step`` (an optimizer step).
        frequency: every how many intervals; batches are counted within their epoch.
        reduce_on_plateau: it wants the monitored value at each step.
        monitor: metric passed to it.
        strict: a missing metric is an error, else a warning.
    """

    scheduler: Any
    name: str | None = None
    interval: str = "epoch"
    frequency: int = 1
    reduce_on_plateau: bool = False
    monitor: str | None = None
    strict: bool = True


class NoOptimizer(Optimizer):
    """Stands in where ``configure_optimizers`` returns None: runs the closure and changes nothing."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """It has no groups, so nobody looks for their learning rate."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """The closure's result."""
        return None if closure is None else closure()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing to clear."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""


def parse_configuration(found: object, module: Steps) -> tuple[list[Optimizer], list[LRSchedulerConfig]]:
    """Optimizers and schedulers from what ``module.configure_optimizers`` returned.

    Raises:
        MisconfigurationException: the returned value has none of the known forms.
        RuntimeError: several optimizers with automatic optimisation.
    """
    optimizers, schedulers, monitor = _forms(found)
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            raise MisconfigurationException(
                f"configure_optimizers returned {_types(optimizer)}, which is no torch Optimizer"
            )
    configs = [_scheduler_config(scheduler, monitor) for scheduler in schedulers]
    for config in configs:
        _check_scheduler(config, optimizers, module)
    if len(optimizers) > 1 and module.automatic_optimization:
        raise RuntimeError(
            f"configure_optimizers of {type(module).__name__} returned {len(optimizers)} optimizers, but automatic "
            "optimisation has one; set self.automatic_optimization = False and step them in training_step"
        )
    return optimizers, configs


def _forms(found: object) -> tuple[list[Any], list[Any], str | None]:
    """``(optimizers, schedulers, monitor)`` for each accepted form."""
    if found is None:
        warn("configure_optimizers returned None: training goes on without an optimizer, so nothing is learned")
        return [NoOptimizer()], [], None
    if isinstance(found, Optimizer):
        return [found], [], None
    if isinstance(found, dict):
        return _from_dicts([found])
    if isinstance(found, (list, tuple)):
        parts = list(found)
        if len(parts) == 2 and isinstance(parts[0], (list, tuple)):
            second = parts[1] if isinstance(parts[1], (list, tuple)) else [parts[1]]
            return list(parts[0]), list(second), None
        if parts and all(isinstance(part, dict) for part in parts):
            return _from_dicts(parts)
        if parts and all(isinstance(part, Optimizer) for part in parts):
            return parts, [], None
        if len(parts) == 2 and isinstance(parts[0], Optimizer) and parts[1] is not None:
            raise MisconfigurationException(
                f"configure_optimizers returned {_types(found)}; put each in a list: return [optimizer], [scheduler]"
            )
    raise MisconfigurationException(
        f"configure_optimizers returned {_types(found)}; it must be an optimizer, a list of them, two lists "
        "(optimizers, schedulers), a dict with 'optimizer' and 'lr_scheduler', a list of such dicts, or None"
    )


def _types(found: object) -> str:
    """What ``found`` is made of; an optimizer written out takes a screen."""
    if isinstance(found, (list, tuple)):
        inner = ", ".join(map(_types, found))
        return f"[{inner}]" if isinstance(found, list) else f"({inner})"
    return f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__


def _from_dicts(parts: list[dict[str, Any]]) -> tuple[list[Any], list[Any], str | None]:
    optimizers, schedulers = [], []
    for part in parts:
        if "optimizer" not in part:
            raise MisconfigurationException(f"configure_optimizers returned a dict without 'optimizer': {sorted(part)}")
        _warn_unknown(part, _OPTIMIZER_KEYS, "configure_optimizers")
        optimizers.append(part["optimizer"])
        scheduler = part.get("lr_scheduler")
        if scheduler is not None:
            monitor = part.get("monitor")
            form = dict(scheduler) if isinstance(scheduler, dict) else {"scheduler": scheduler}
            if monitor is not None:
                form.setdefault("monitor", monitor)
            schedulers.append(form)
    return optimizers, schedulers, None


def _scheduler_config(scheduler: object, monitor: str | None) -> LRSchedulerConfig:
    if isinstance(scheduler, LRSchedulerConfig):
        return scheduler
    if not isinstance(scheduler, dict):
        return LRSchedulerConfig(scheduler, monitor=monitor, reduce_on_plateau=isinstance(scheduler, ReduceLROnPlateau))
    _warn_unknown(scheduler, _SCHEDULER_KEYS, "the lr_scheduler dict")
    if "scheduler" not in scheduler:
        raise MisconfigurationException(f"the lr_scheduler dict has no 'scheduler', only {sorted(scheduler)}")
    known = {key: value for key, value in scheduler.items() if key in _SCHEDULER_KEYS}
    known.setdefault("reduce_on_plateau", isinstance(known["scheduler"], ReduceLROnPlateau))
    return LRSchedulerConfig(**known)


def _check_scheduler(config: LRSchedulerConfig, optimizers: list[Optimizer], module: Steps) -> None:
    scheduler, name = config.scheduler, type(config.scheduler).__name__
    if config.interval not in ("epoch", "step"):
        raise MisconfigurationException(f"lr_scheduler interval={config.interval!r} is neither 'epoch' nor 'step'")
    if not isinstance(config.frequency, int) or config.frequency < 1:
        raise MisconfigurationException(f"lr_scheduler frequency={config.frequency!r} must be an integer of at least 1")
    if config.reduce_on_plateau and config.monitor is None and module.automatic_optimization:
        raise MisconfigurationException(f"{name} needs the metric to watch; add monitor='...' to the lr_scheduler dict")
    if isinstance(scheduler, OneCycleLR) and config.interval == "epoch":
        warn("OneCycleLR steps once per epoch here, though it counts batches; add interval='step'", RuntimeWarning)
    own = getattr(scheduler, "optimizer", None)
    if own is not None and all(own is not optimizer for optimizer in optimizers):
        raise MisconfigurationException(f"{name} belongs to an optimizer that configure_optimizers did not return")
    if isinstance(scheduler, (LRScheduler, ReduceLROnPlateau)):
        return
    if not hasattr(scheduler, "state_dict") or not hasattr(scheduler, "load_state_dict"):
        raise TypeError(f"scheduler {name} has no state_dict and load_state_dict, so it could not be resumed; add them")
    from thunderhead.core.steps import Steps

    if module.automatic_optimization and type(module).lr_scheduler_step is Steps.lr_scheduler_step:
        raise MisconfigurationException(f"scheduler {name} is not torch's; override lr_scheduler_step to step it")


def _warn_unknown(given: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            warn(f"{where} ignores {key!r}.{did_you_mean(str(key), known)}", RuntimeWarning)
