"""What libraries reach for inside of Lightning around arguments and attributes."""

from __future__ import annotations

import importlib
import inspect
import pickle
import types
from collections.abc import Callable, Mapping
from typing import Any

from thunderhead.compat.internals import Known


def get_init_args(frame: types.FrameType) -> dict[str, Any]:
    """The arguments of the ``__init__`` that runs in ``frame``, those of ``**kwargs`` by their names."""
    return _own_arguments(frame)[1]


def collect_init_args(
    frame: types.FrameType, path_args: list[dict[str, Any]], inside: bool = False, classes: tuple[type, ...] = ()
) -> list[dict[str, Any]]:
    """The same of each ``__init__`` through which an object is being made, from the innermost class outwards."""
    at: types.FrameType | None = frame
    while at is not None and at.f_back is not None:
        made, arguments = _own_arguments(at)
        if "__class__" in at.f_locals and (not classes or isinstance(made, classes)):
            path_args.append(arguments)
            inside = True
        elif inside:
            break
        at = at.f_back
    return path_args


def _own_arguments(frame: types.FrameType) -> tuple[object, dict[str, Any]]:
    found = frame.f_locals
    if "__class__" not in found or frame.f_code.co_name != "__init__":
        return None, {}
    parameters = list(inspect.signature(found["__class__"].__init__).parameters.values())
    kinds = {parameter.name: parameter.kind for parameter in parameters}
    arguments = {name: found[name] for name, kind in kinds.items() if kind not in (_VAR, _NAMED) and name in found}
    for name, kind in kinds.items():
        arguments.update(found.get(name, {}) if kind is _NAMED else {})
    own = parameters[0].name
    return found.get(own), {name: value for name, value in arguments.items() if name != own}


_VAR, _NAMED = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


def instantiate_class(args: object, init: Mapping[str, Any]) -> Any:
    """An object of the class that ``init`` names.

    Args:
        args: its positional argument, or a tuple of several.
        init: ``class_path`` and, optionally, ``init_args``.
    """
    module, _, name = init["class_path"].rpartition(".")
    positional = args if isinstance(args, tuple) else (args,)
    return getattr(importlib.import_module(module), name)(*positional, **init.get("init_args", {}))


def is_picklable(obj: object) -> bool:
    """Whether pickle takes it."""
    try:
        pickle.dumps(obj)
    except Exception:  # noqa: BLE001 - user objects fail to be pickled in any way they like
        return False
    return True


def is_param_in_hook_signature(
    hook_fx: Callable[..., Any], param: str, explicit: bool = False, min_args: int | None = None
) -> bool:
    """Whether a hook takes an argument of this name; by ``*args`` and by their number too, unless ``explicit``."""
    wanted = inspect.getfullargspec(getattr(hook_fx, "__wrapped__", hook_fx))
    names = [name for name in wanted.args if name != "self"]
    many = min_args is not None and len(names) >= min_args
    return param in names or (not explicit and (wanted.varargs is not None or many))


def lightning_hasattr(model: Known, attribute: str) -> bool:
    """Whether the module, its hyperparameters or its datamodule has it."""
    return bool(_holders(model, attribute))


def lightning_getattr(model: Known, attribute: str) -> object:
    """The attribute of the first of module, hyperparameters and datamodule that has it.

    Raises:
        AttributeError: none of them has.
    """
    holder = _first(model, attribute)
    return holder[attribute] if isinstance(holder, dict) else getattr(holder, attribute)


def lightning_setattr(model: Known, attribute: str, value: object) -> None:
    """Set the attribute of each of module, hyperparameters and datamodule that has it.

    Raises:
        AttributeError: none of them has.
    """
    _first(model, attribute)
    for holder in _holders(model, attribute):
        if isinstance(holder, dict):
            holder[attribute] = value
        else:
            setattr(holder, attribute, value)


def _holders(model: Known, attribute: str) -> list[Any]:
    trainer = getattr(model, "_trainer", None)
    candidates = (model, getattr(model, "hparams", None), None if trainer is None else trainer.datamodule)
    return [c for c in candidates if (attribute in c if isinstance(c, dict) else hasattr(c, attribute))]


def _first(model: Known, attribute: str) -> object:
    found = _holders(model, attribute)
    if not found:
        raise AttributeError(f"neither module, hyperparameters nor datamodule of {type(model).__name__}: {attribute!r}")
    return found[0]
