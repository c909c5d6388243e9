"""Code that a checkpoint names: a file may come from anywhere, so it imports nothing and chooses no function.

A command line's run saves two entries beside the arguments: by what the object was built (``_instantiator``), and of
which class it is (``_class_path``). Classes stand in arguments too, as ``class_path``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from thunderhead.core.hparams import INSTANTIATOR, OF_COMMAND_LINE, given_hyperparameters
from thunderhead.exceptions import MisconfigurationException

_ALLOWED: Final = (INSTANTIATOR, "pytorch_lightning.cli.instantiate_module", "thunderhead.cli.instantiate_module")


@dataclass(frozen=True, slots=True)
class CodeNamed:
    """What hyperparameters say of code.

    Attributes:
        kind: the class of the object.
        left: the hyperparameters without it.
        build: makes the object of its arguments; None: by calling the class.
    """

    kind: type
    left: MutableMapping[str, Any]
    build: Callable[[dict[str, Any]], Any] | None


def code_named_in(saved: MutableMapping[str, Any], cls: type) -> CodeNamed:
    """What ``saved`` says of code, for an object of ``cls``.

    Raises:
        MisconfigurationException: it names a function, or a class that is not imported or not derived from ``cls``.
    """
    if not isinstance(saved, dict) or not saved.keys() & set(OF_COMMAND_LINE):
        return CodeNamed(cls, saved, None)
    left = {name: value for name, value in saved.items() if name not in OF_COMMAND_LINE}
    instantiator, path = saved.get("_instantiator"), saved.get("_class_path")
    if instantiator is None:
        return CodeNamed(cls, left, None)
    if instantiator not in _ALLOWED:
        raise MisconfigurationException(
            f"the checkpoint's hyperparameters name the function {instantiator!r} to build the object with, and only "
            f"{INSTANTIATOR} is called for a checkpoint; if you trust its origin, build the object yourself and call "
            "load_state_dict"
        )
    kind = cls if path is None else _imported(path, cls)
    return CodeNamed(kind, left, partial(_build, kind, {} if path is None else {"_class_path": path}))


def _imported(path: object, cls: type) -> type:
    module, _, name = str(path).rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if isinstance(found, type) and issubclass(found, cls):
        return found
    why = f"derives from no {cls.__name__}" if isinstance(found, type) else "is no class that is imported"
    raise MisconfigurationException(
        f"the checkpoint's hyperparameters name the class {path!r}, which {why}; a checkpoint imports nothing: import "
        "its module first if you trust it, or call load_from_checkpoint of a class that it derives from"
    )


def _build(kind: type, named: dict[str, Any], arguments: dict[str, Any]) -> Any:
    # By name: the command line stands above, and needs packages of its own.
    make = import_module("thunderhead.cli").instantiate_module
    # Kept as they are, for the next checkpoint, and for whoever loads that.
    with given_hyperparameters(kind, {**named, **arguments}), _nothing_imported_for(arguments):
        return make(kind, arguments)


@contextmanager
def _nothing_imported_for(arguments: Mapping[str, Any]) -> Iterator[None]:
    guard = _Guard(frozenset(_texts(arguments)))
    sys.meta_path.insert(0, guard)
    try:
        yield
    except Exception as error:
        # Whoever wanted to import it may have made something else of the refusal.
        if guard.refused is None or error is guard.refused:
            raise
        raise guard.refused from error
    finally:
        sys.meta_path.remove(guard)


class _Guard(MetaPathFinder):
    """Refuses to import what one of some texts names; whatever else is imported meanwhile is not their doing."""

    def __init__(self, texts: frozenset[str]) -> None:
        self._texts = texts
        self.refused: MisconfigurationException | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None, or a refusal."""
        for text in self._texts:
            if text == fullname or text.startswith(f"{fullname}."):
                self.refused = MisconfigurationException(
                    f"the checkpoint's hyperparameters name {text!r}, and a checkpoint imports nothing; import "
                    f"{fullname} first if you trust it"
                )
                raise self.refused
        return None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
