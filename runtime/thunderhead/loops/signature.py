"""What arguments a user's step takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def takes(function: Callable[..., Any], name: str, *, position: int | None = None) -> bool:
    """Whether ``function`` has a parameter ``name``, or one at ``position`` (bound methods count without self)."""
    parameters = list(inspect.signature(function).parameters.values())
    if any(p.name == name or p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return True
    return position is not None and len([p for p in parameters if p.kind in _BY_POSITION]) > position


def requires(function: Callable[..., Any], name: str) -> bool:
    """Whether ``function`` has a parameter ``name`` without a default."""
    parameter = inspect.signature(function).parameters.get(name)
    return parameter is not None and parameter.default is inspect.Parameter.empty
