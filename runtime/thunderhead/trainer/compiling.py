"""What ``torch.compile`` made of a whole module is run: its steps and its ``forward``, not the module's plain ones.

For as long as an entry point runs they stand on the instance, where strategies, loops and ``self(...)`` find them. They
are bound methods, so that a copy of the module calls its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, Final

import torch
from torch import nn

from thunderhead.core.optimizer import LightningOptimizer
from thunderhead.hooks.overriding import is_overridden

_COMPILED: Final = ("forward", "training_step", "validation_step", "test_step", "predict_step")
# What these do changes the trainer's records: traced, each step would be compiled anew.
_PLAIN: Final = (
    "log",
    "log_dict",
    "print",
    "all_gather",
    "optimizers",
    "lr_schedulers",
    "manual_backward",
    "clip_gradients",
    "toggle_optimizer",
    "untoggle_optimizer",
    "toggled_optimizer",
)


@contextmanager
def compiled_steps(module: nn.Module, compiled: Any) -> Iterator[None]:
    """Let ``module`` run as what ``torch.compile`` made of it says: with its backend and its options."""
    own = vars(module)
    before: dict[str, Any] = {name: own[name] for name in (*_COMPILED, *_PLAIN) if name in own}
    for name in _COMPILED:
        if name == "forward" or is_overridden(name, module):
            own[name] = _changed(module, name, compiled.dynamo_ctx)
    for name in _PLAIN:
        own[name] = _changed(module, name, torch.compiler.disable)
    stepping = LightningOptimizer.step
    LightningOptimizer.step = torch.compiler.disable(stepping)  # type: ignore[method-assign,no-untyped-call]
    try:
        yield
    finally:
        LightningOptimizer.step = stepping  # type: ignore[method-assign]
        for name in (*_COMPILED, *_PLAIN):
            own.pop(name, None)
        own.update(before)


def _changed(module: nn.Module, name: str, change: Callable[[Any], Any]) -> Any:
    """The method that the module has, changed; of one that gathers a sharded module's parameters, what it calls."""
    found = vars(module).get(name)
    if found is None or getattr(found, "gathers", False):
        return MethodType(change(getattr(type(module), name)), module)
    if isinstance(found, MethodType):
        return MethodType(change(found.__func__), found.__self__)
    return change(found)
