"""What stands where a name of Lightning's has no counterpart: importable, and explained when used."""

from __future__ import annotations

from abc import ABCMeta
from typing import Final, NoReturn

from thunderhead.exceptions import MisconfigurationException

_SAID: Final = "_said"


class NotAvailable(MisconfigurationException, ImportError):
    """A name of Lightning's without a counterpart was called; whoever can do without catches an ImportError."""


class NoSuchAttribute(MisconfigurationException, AttributeError):
    """An attribute of such a name was looked at."""


class Lacking(ABCMeta):
    """A class of which nothing is an instance. It can be derived from, as packages do as they are imported.

    Neither it nor what derives from it can be called. ABCMeta, so that one may derive from an abstract class beside it.
    """

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        said = _said(cls)
        subject = "" if said.own == cls.__name__ else f"{cls.__name__} derives from {said.path}, and "
        raise NotAvailable(f"{subject}{said}")

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(f"{cls.__name__} has no attribute {name!r}")
        raise NoSuchAttribute(str(_said(cls)))

    def __instancecheck__(cls, instance: object) -> bool:
        return False

    def __subclasscheck__(cls, subclass: type) -> bool:
        return cls in getattr(subclass, "__mro__", ())

    def __repr__(cls) -> str:
        return f"<{cls.__name__}: {_said(cls)}>" if _SAID not in vars(cls) else f"<{_said(cls)}>"


class _Said(str):
    """What is said of a name that is lacking."""

    path: str
    own: str


def _said(cls: type) -> _Said:
    found: _Said = next(vars(base)[_SAID] for base in cls.__mro__ if _SAID in vars(base))
    return found


def lacking(path: str, reason: str) -> Lacking:
    """The stand-in for the name at ``path``; ``reason`` says what to use instead."""
    said = _Said(f"{path} is not available in Thunderhead: {reason}")
    said.path, said.own = path, path.rpartition(".")[2]
    return Lacking(said.own, (), {_SAID: said, "__module__": path.rpartition(".")[0]})
