"""A finder that answers for Lightning's modules with modules whose names are ours.

An alias module holds nothing until a name is asked of it, so installing costs a dictionary look-up per import and
imports neither torch nor the trainer.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from thunderhead.compat import internal_names, names, shared_rank
from thunderhead.compat.internal_names import INTERNALS
from thunderhead.compat.lacking import lacking
from thunderhead.compat.unknown import audible
from thunderhead.exceptions import did_you_mean


class AliasFinder(MetaPathFinder):
    """Finds the modules of the table, and nothing else under Lightning's roots."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The alias for ``fullname``; None where the name is not Lightning's.

        Raises:
            ModuleNotFoundError: there is no such module, or none that we offer.
        """
        if fullname == shared_rank.MODULE:
            return shared_rank.spec_of(path)
        if fullname.partition(".")[0] not in names.ROOTS:
            return None
        module = names.canonical(fullname)
        if not _is_module(module):
            raise ModuleNotFoundError(_no_module(fullname, module), name=fullname)
        # All are packages, so that submodules come here as well.
        return ModuleSpec(fullname, AliasLoader(), origin=names.__file__, is_package=True)


class AliasLoader(Loader):
    """Makes alias modules."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty module that knows where its names live."""
        return AliasModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run; whoever asks for its file is shown the table."""
        module.__file__ = names.__file__


class AliasModule(ModuleType):
    """A module of Lightning's name whose names are Thunderhead's, imported when they are asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"{name}, as Thunderhead offers it.")
        self.__dict__["__all__"] = sorted(names.MODULES.get(names.canonical(name), ()))
        self.__dict__["__version__"] = names.VERSION

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        module = names.canonical(self.__name__)
        if name in INTERNALS.get(module, ()):
            home = internal_names.home(module, name)
        elif name in names.MODULES.get(module, ()):
            home = names.home(module, name)
        else:
            if _is_module(f"{module}.{name}"):
                return importlib.import_module(f"{self.__name__}.{name}")
            known = [*names.MODULES.get(module, ()), *names.submodules(module)]
            message = f"{self.__name__}.{name} does not exist in thunderhead.compat.{did_you_mean(name, known)}"
            raise audible(message, self.__name__, name, sys._getframe(1))
        found = lacking(f"{self.__name__}.{name}", names.reason(name)) if home is None else _import(home)
        self.__dict__[name] = found
        return found

    def __dir__(self) -> list[str]:
        module = names.canonical(self.__name__)
        return sorted({*self.__dict__, *names.MODULES.get(module, ()), *names.submodules(module)})


def _is_module(module: str) -> bool:
    return module in names.MODULES or module in INTERNALS


def _import(home: str) -> object:
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(f"thunderhead.{module}"), name)


def _no_module(fullname: str, module: str) -> str:
    parent, _, last = module.rpartition(".")
    hint = did_you_mean(last, names.submodules(parent)) if parent in names.MODULES else ""
    return (
        f"thunderhead.compat stands in for Lightning here and has no module {fullname!r}.{hint} "
        "Of Lightning's internals only those have a counterpart that libraries use most; see "
        "docs/lightning-compatibility.md"
    )
