"""Names that a package does not have: why not, what to use instead, or which one was meant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from opcode import opmap
from types import FrameType
from typing import Any, Final

from thunderhead.compat import names
from thunderhead.exceptions import did_you_mean

_IMPORT_FROM: Final = opmap["IMPORT_FROM"]


def refusing(package: str, known: Iterable[str], on_demand: Mapping[str, str] | None = None) -> Callable[[str], Any]:
    """A ``__getattr__`` for ``package``, which has the names ``known`` and no others.

    Args:
        package: the package's name.
        known: its names.
        on_demand: in which of its modules those are that are imported when they are first used.
    """
    homes = on_demand or {}

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise unknown_name(package, name, known)
        found = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    return __getattr__


def on_demand(package: str, homes: Mapping[str, str], known: Iterable[str]) -> Callable[[str], object]:
    """As ``refusing``, and names of ``homes`` are imported from the module there when they are first asked for."""

    def __getattr__(name: str) -> object:
        if name not in homes:
            raise unknown_name(package, name, known)
        found: object = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    return __getattr__


def unknown_name(package: str, name: str, known: Iterable[str]) -> Exception:
    """What ``package.__getattr__(name)`` raises; called by that function itself."""
    hint = instead(package, name, known)
    message = f"module {package!r} has no {name!r}{f'; dir({package}) lists what it has' if hint == '.' else hint}"
    return audible(message, package, name, sys._getframe(2))


def instead(package: str, name: str, known: Iterable[str]) -> str:
    """What follows "has no name": why a name of Lightning's is lacking or where it is, else the closest known one."""
    if name.startswith("__"):
        return ""  # what Python and tools ask every object for; nobody misspelt it
    ours = package.partition(".")[0] == "thunderhead"
    if ours and any(name in found for found in names.MODULES.values()):
        home = names.home(package.replace("thunderhead", "lightning.pytorch", 1), name)
        return f": {names.reason(name)}" if home is None else f"; it is thunderhead.{_public(home)}"
    return f".{did_you_mean(name, known)}"


def audible(message: str, package: str, name: str, asking: FrameType) -> Exception:
    """An AttributeError, or, where ``from package import name`` asks, the ImportError that it would become.

    Python makes that one itself of any AttributeError, without its text. ``hasattr`` needs the AttributeError.
    """
    at = asking.f_lasti
    if at >= 0 and asking.f_code.co_code[at] == _IMPORT_FROM:
        return ImportError(message, name=package)
    return AttributeError(message, name=name, obj=sys.modules.get(package))


def _public(home: str) -> str:
    module, _, name = home.partition(":")
    top: Any = sys.modules["thunderhead"]
    return name if name in top.__all__ else f"{module}.{name}"
