"""What one run did, as plain data that can be compared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Record:
    """Everything that was observed of one run.

    Attributes:
        hooks: every hook that was called, in order, with the kinds of its arguments.
        batches: what each step was given, by step.
        losses: what ``training_step`` returned, in order.
        metrics: what callbacks read of the trainer, by moment.
        logged: what loggers were told.
        returned: what the entry points returned.
        csv: rows of ``metrics.csv``.
        files: names of the files left behind.
        checkpoints: content of the ``.ckpt`` files by name.
        attributes: of trainer and callbacks at the end.
        weights: of the module at the end.
        error: type of the exception that ended the run.
    """

    hooks: list[str] = field(default_factory=list)
    batches: list[Any] = field(default_factory=list)
    losses: list[Any] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    logged: list[Any] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)
    csv: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    checkpoints: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def kind(value: Any) -> str:
    """What an argument of a hook is, in words that are the same on both sides."""
    if isinstance(value, Tensor):
        return f"Tensor{list(value.shape)}"
    if isinstance(value, str):
        return repr(str(getattr(value, "value", value)))
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, Mapping) and "state_dict" in value:
        return "checkpoint"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {kind(item)}" for key, item in sorted(value.items(), key=str)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(kind(item) for item in value) + "]"
    if isinstance(value, BaseException):
        return type(value).__name__
    for name in ("Trainer", "LightningModule", "LightningDataModule"):
        if any(base.__name__ == name for base in type(value).__mro__):
            return name
    if isinstance(value, torch.optim.Optimizer) or type(value).__name__.startswith("Lightning"):
        return "wrapped optimizer" if type(value).__name__.startswith("Lightning") else "optimizer"
    return "callable" if callable(value) and not isinstance(value, torch.nn.Module) else type(value).__name__


def arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call by name, however they were passed."""
    try:
        return dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        return {str(index): value for index, value in enumerate(args)} | kwargs


def described(name: str, given: Mapping[str, Any]) -> str:
    """One call; its arguments in the function's order."""
    skipped = ("self", "trainer", "pl_module")
    return f"{name}({', '.join(kind(value) for key, value in given.items() if key not in skipped)})"


def plain(value: Any) -> Any:
    """Nested data with tensors as (dtype, shape, values), so that equality means equal bits."""
    if isinstance(value, Tensor):
        wide = value.detach().cpu()
        if wide.numel() == 1 and not wide.dim():
            return wide.item()
        return {"dtype": str(wide.dtype), "shape": list(wide.shape), "values": wide.double().flatten().tolist()}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str(getattr(value, "value", value))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "__dict__") and type(value).__module__.startswith("torch.optim"):
        return {"type": type(value).__name__}
    return f"<{type(value).__name__}>" if not isinstance(value, type) else f"<class {value.__name__}>"
