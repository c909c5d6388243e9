"""``lightning_utilities`` has a decorator for rank 0 of its own, and whoever imports Lightning tells it the rank.

Ours takes its place in that module, so that both are one object, as they are with Lightning. It happens when somebody
imports the module: who does not, pays nothing.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

MODULE: Final = "lightning_utilities.core.rank_zero"


def spec_of(path: Any) -> ModuleSpec | None:
    """Python's own spec of the module, whose loader also puts our decorator there; None where it is not installed."""
    found = PathFinder.find_spec(MODULE, path)
    if found is not None and found.loader is not None:
        found.loader = _Following(found.loader)
    return found


def share() -> None:
    """Put our decorator into the module, if it has been imported."""
    module = sys.modules.get(MODULE)
    if module is not None:
        _put(module)


def leave() -> None:
    """Give the module its own back."""
    module = sys.modules.get(MODULE)
    if module is not None and "_own_rank_zero_only" in vars(module):
        module.rank_zero_only = vars(module).pop("_own_rank_zero_only")  # type: ignore[attr-defined]


def _put(module: ModuleType) -> None:
    from thunderhead.compat.rank_zero import rank_zero_only

    own = vars(module)["rank_zero_only"]
    if own is rank_zero_only:
        return
    # What it decorated before asks the module for its name at each call, and so finds ours.
    vars(module).update(_own_rank_zero_only=own, rank_zero_only=rank_zero_only)
    own.rank = getattr(own, "rank", rank_zero_only.rank)


class _Following(Loader):
    """Python's own loader, and then ours."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._own.exec_module(module)
        _put(module)
