"""Parts of the Trainer that libraries reach for by Lightning's private names, and names that packages registered."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

_PARTS: Final = "thunderhead.compat.internals"
_REGISTRIES: Final = "thunderhead.compat.registries"


class InnerPart:
    """An attribute that is made when somebody asks for it, from the Trainer's public records; see ``internals``."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, trainer: object | None, owner: type) -> Any:
        return self if trainer is None else importlib.import_module(_PARTS).PARTS[self._name](trainer)


def with_registered(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments in which a strategy's or an accelerator's name is what a package registered under it."""
    registries = sys.modules.get(_REGISTRIES)  # nobody has registered anything where nobody imported it
    if registries is None:
        return given
    found = {"strategy": registries.StrategyRegistry, "accelerator": registries.AcceleratorRegistry}
    made = {what: registry.get(given[what]) for what, registry in found.items() if _names(given[what], registry)}
    return {**given, **made}


def _names(asked: object, registry: Any) -> bool:
    return isinstance(asked, str) and asked in registry
