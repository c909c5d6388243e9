"""What arguments a user's steps and hooks take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from thunderhead.core.steps import Steps

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def takes(function: Callable[..., Any], name: str, *, position: int | None = None) -> bool:
    """Whether ``function`` has a parameter ``name``, or one at ``position`` (bound methods count without self)."""
    parameters = list(inspect.signature(function).parameters.values())
    if any(p.name == name or p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return True
    return position is not None and len([p for p in parameters if p.kind in _BY_POSITION]) > position


def wants_iterator(step: Callable[..., Any]) -> bool:
    """Whether a step takes its batches itself, by an argument ``dataloader_iter``."""
    return "dataloader_iter" in inspect.signature(step).parameters


def requires(function: Callable[..., Any], name: str) -> bool:
    """Whether ``function`` has a parameter ``name`` without a default."""
    parameter = inspect.signature(function).parameters.get(name)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def check_dataloader_idx(module: object, kind: str, *, several: bool) -> None:
    """Hold ``<kind>_step`` and the hooks around it against the number of loaders.

    Raises:
        RuntimeError: several loaders and no argument ``dataloader_idx``, or one loader and such an argument without a
            default.
    """
    for name, position in ((f"on_{kind}_batch_start", 2), (f"{kind}_step", 2), (f"on_{kind}_batch_end", 3)):
        function = getattr(module, name)
        if function is None or wants_iterator(function):
            continue
        if several and not takes(function, "dataloader_idx", position=position):
            raise RuntimeError(
                f"{name} of {type(module).__name__} gets batches of several loaders; give it an argument dataloader_idx"
            )
        if not several and requires(function, "dataloader_idx"):
            raise RuntimeError(
                f"{name} of {type(module).__name__} wants dataloader_idx, but there is one loader; give it a default"
            )


def refuse_removed(module: Steps) -> None:
    """Refuse what Lightning 1 called and nobody calls since.

    Raises:
        NotImplementedError: one of the hooks that got the outputs of a whole epoch.
        RuntimeError: ``training_step`` wants ``optimizer_idx``.
    """
    for name in ("training_epoch_end", "validation_epoch_end", "test_epoch_end"):
        if getattr(module, name, None) is not None:
            raise NotImplementedError(
                f"{type(module).__name__}.{name} is no longer called; use on_{name.replace('training', 'train')} "
                "and keep what the steps return yourself"
            )
    if module.training_step is not None and "optimizer_idx" in inspect.signature(module.training_step).parameters:
        raise RuntimeError(
            f"training_step of {type(module).__name__} wants optimizer_idx, which is no longer passed; drop it, set "
            "self.automatic_optimization = False and step each of self.optimizers() yourself"
        )
