"""Objects from their description: ``{class_path: digits.Classifier, init_args: {lr: 0.02}}`` → ``Classifier(lr=0.02)``.

Strict: whatever cannot work is an :class:`InvalidConfiguration` that names the field, the value and what is known
instead, and ends the job at once. An argument with an annotation is brought to that type (``"1e-3"`` → ``0.001`` for a
float, a list for a tuple) by the rules of pydantic's lax mode; what pydantic has no rule for is passed as it is.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from types import ModuleType
from typing import Any, TypeGuard

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from thunderhead.compat.names import ROOTS
from thunderhead.compat.unknown import instead
from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.job.errors import InvalidConfiguration, JobError
from thunderhead_agent.absent import PACKAGES, SWITCH, remedy

_ANYTHING = ConfigDict(arbitrary_types_allowed=True)


def build(described: Mapping[str, Any], where: str) -> Any:
    """The object that ``described`` describes.

    Args:
        described: ``class_path`` and, optionally, ``init_args``; values in it may be descriptions themselves.
        where: field it comes from, for messages (``spec.module``).

    Raises:
        InvalidConfiguration: it cannot be imported, or does not take these arguments.
    """
    cls = find_class(described["class_path"], where)
    return call(cls, described.get("init_args") or {}, f"{where}.init_args")


def find_class(class_path: str, where: str) -> Callable[..., Any]:
    """Import ``package.module.Class``.

    Raises:
        InvalidConfiguration: no such module or class, or the module fails on import.
    """
    module_name, _, name = class_path.rpartition(".")
    if not module_name:
        raise InvalidConfiguration(f"{where}.class_path={class_path!r} must be module.Class, as in digits.Classifier")
    module = _import(module_name, class_path, where)
    found = getattr(module, name, None)
    if found is None:
        known = [*getattr(module, "__all__", ()), *(n for n, value in vars(module).items() if inspect.isclass(value))]
        hint = instead(module_name, name, known)
        if hint == ".":
            hint = _offered(module)
        raise InvalidConfiguration(f"{where}.class_path={class_path!r}: module {module_name!r} has no {name!r}{hint}")
    if not callable(found):
        raise InvalidConfiguration(f"{where}.class_path={class_path!r} is no class but {type(found).__name__}")
    factory: Callable[..., Any] = found
    return factory


def call(target: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> Any:
    """Call ``target`` with keyword arguments that have been checked against its signature and annotations.

    Raises:
        InvalidConfiguration: an argument it does not know, one that is missing, one of a wrong type, or its own
            ``TypeError``, ``ValueError`` or ``MisconfigurationException``. Whatever else it raises passes through.
    """
    name = getattr(target, "__qualname__", repr(target))
    ready = _ready(target, arguments, where, complete=True)
    try:
        return target(**ready)
    except JobError:
        raise
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise InvalidConfiguration(f"{where}: {name} refuses its arguments: {type(error).__name__}: {error}") from error


def _ready(target: Callable[..., Any], arguments: Mapping[str, Any], where: str, *, complete: bool) -> dict[str, Any]:
    """The arguments as ``target`` declares them; ``complete`` if nobody else gives some."""
    name = getattr(target, "__qualname__", repr(target))
    _check_names(target, name, arguments, where, complete=complete)
    hints = _hints(target)
    return {key: _argument(value, hints.get(key, Any), f"{where}.{key}", name) for key, value in arguments.items()}


def _argument(value: object, hint: object, where: str, name: str) -> object:
    factory = _factory(value, hint, where)
    return _fit(_nested(value, where), hint, where, name) if factory is None else factory


def _factory(value: object, hint: object, where: str) -> Callable[..., Any] | None:
    """What is called later, as an optimizer that is given its parameters: a class with arguments, or a path alone."""
    declared = [kind for kind in (hint, *typing.get_args(hint)) if typing.get_origin(kind) is Callable]
    if not declared:
        return None
    if isinstance(value, str):
        return find_class(value, where)
    if not _is_description(value):
        return None
    found = find_class(value["class_path"], where)
    made = typing.get_args(declared[0])[-1]
    kinds = tuple(kind for kind in (made, *typing.get_args(made)) if inspect.isclass(kind))
    if not (inspect.isclass(found) and issubclass(found, kinds)):
        return None  # its objects are what is called
    return partial(found, **_ready(found, value.get("init_args") or {}, f"{where}.init_args", complete=False))


def _import(module_name: str, class_path: str, where: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise InvalidConfiguration(
                f"{where}.class_path={class_path!r}: there is no module {error.name!r}{_no_module(error.name)}"
            ) from error
        raise _import_failure(error, module_name, class_path, where) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a module may raise anything as it is imported, and will do so again
        raise _import_failure(error, module_name, class_path, where) from error


def _import_failure(error: Exception, module_name: str, class_path: str, where: str) -> InvalidConfiguration:
    place = _place(error, module_name)
    return InvalidConfiguration(
        f"{where}.class_path={class_path!r}: importing {module_name!r} failed{place}: {type(error).__name__}: {error}"
        f"{remedy(error)}"
    )


def _no_module(name: str) -> str:
    if name.partition(".")[0] in ROOTS:
        return f"; {SWITCH}"
    hint = did_you_mean(name.rpartition(".")[2], _siblings(name))
    return f".{hint} Files given by spec.code are importable by their names; {PACKAGES}"


def _offered(module: ModuleType) -> str:
    """What there is, for whoever asked for a name that resembles nothing: classes that the module means to offer."""
    listed = getattr(module, "__all__", None)
    own = [
        name
        for name, value in ((name, getattr(module, name, None)) for name in listed or vars(module))
        if inspect.isclass(value) and not name.startswith("_") and (listed or _is_from(value, module))
    ]
    return f"; it has {', '.join(own[:8])}{' and others' if len(own) > 8 else ''}" if own else "; it has no class"


def _is_from(value: type, module: ModuleType) -> bool:
    return f"{value.__module__}.".startswith(f"{module.__name__}.")


def _place(error: Exception, module_name: str) -> str:
    """``" at digits.py line 3"``: the last line of the user's module on the way to the error."""
    spec = importlib.util.find_spec(module_name.partition(".")[0]) if not isinstance(error, SyntaxError) else None
    frame, found = error.__traceback__, ""
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if spec is not None and spec.origin is not None and file == spec.origin:
            found = f" at {file.rpartition('/')[2]} line {frame.tb_lineno}"
        frame = frame.tb_next
    return found


def _siblings(module_name: str) -> list[str]:
    """Modules beside the one that is not there (at the top: in the code directory), for a suggestion."""
    parent, _, _ = module_name.rpartition(".")
    try:
        path = importlib.import_module(parent).__path__ if parent else sys.path[:1]
    except (ImportError, AttributeError):
        return []
    return [module.name for module in pkgutil.iter_modules(path)]


def _check_names(
    target: Callable[..., Any], name: str, arguments: Mapping[str, Any], where: str, *, complete: bool
) -> None:
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return  # implemented in C without a signature: the call itself will tell
    named = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = [p.name for p in named]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in arguments:
            if key not in known:
                hint = did_you_mean(key, known) or f" It takes {_listed(known)}."
                raise InvalidConfiguration(f"{where}.{key}: {name} takes no argument {key!r}.{hint}")
    missing = [p.name for p in named if p.default is p.empty and p.name not in arguments]
    if missing and complete:
        raise InvalidConfiguration(f"{where}: {name} needs {_listed(missing)}, which {_is_are(missing)} not given")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "no arguments"


def _is_are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _is_description(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and "class_path" in value and set(value) <= {"class_path", "init_args"}


def _nested(value: Any, where: str) -> Any:
    """Build descriptions found inside arguments: an encoder, a loss, a list of metrics."""
    if isinstance(value, Mapping):
        if _is_description(value):
            return build(value, where)
        return {key: _nested(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_nested(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return value


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Annotations by name; none where they cannot be resolved (a name imported for type checkers only).

    Those of a base class count where the arguments are handed on to it by ``**kwargs``.
    """
    owners = (
        [vars(kind)["__init__"] for kind in target.__mro__ if "__init__" in vars(kind)]
        if isinstance(target, type)
        else [target]
    )
    found: dict[str, Any] = {}
    for function in owners:
        with suppress(NameError, TypeError, AttributeError):
            found = {**typing.get_type_hints(function), **found}
        if not any(p.kind is p.VAR_KEYWORD for p in _parameters(function)):
            break
    return found


def _parameters(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    try:
        return inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()


def _fit(value: Any, hint: Any, where: str, name: str) -> Any:
    if hint is Any or value is None:
        return value
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(value, str) and inspect.isclass(kind) and issubclass(kind, Enum) and value in kind.__members__:
            return kind[value]
    try:
        fitted = _adapter(hint).validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]
        path = "".join(f".{part}" for part in said["loc"])
        raise InvalidConfiguration(
            f"{where}={_short(value)}: {said['msg'][0].lower()}{said['msg'][1:]}{f' ({path[1:]})' if path else ''}; "
            f"{name} declares {_type_name(hint)}"
        ) from error
    except PydanticUserError:
        return value
    # An annotation of Iterable yields pydantic's lazy iterator, which is no longer what was given.
    return value if type(fitted).__name__ == "ValidatorIterator" else fitted


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=_ANYTHING)
    except PydanticUserError:
        # A model, dataclass or typed dict brings its own configuration.
        return TypeAdapter(hint)


def _type_name(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
