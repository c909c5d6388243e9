"""Hyperparameters: the arguments an object was made with, kept under ``hparams`` and written into checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import types
from argparse import Namespace
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import torch

from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.warning import warn

Value = TypeVar("Value")

INSTANTIATOR: Final = "lightning.pytorch.cli.instantiate_module"
"""Kept among the hyperparameters of what a command line has built: by this name, since Lightning reads our files too,
and knows no other."""

OF_COMMAND_LINE: Final = ("_instantiator", "_class_path")
"""Names beside the arguments that say by what it was built, and of which class it is."""

_given: ContextVar[tuple[type, dict[str, Any]] | None] = ContextVar("given", default=None)


@contextmanager
def given_hyperparameters(kind: type, arguments: Mapping[str, Any]) -> Iterator[None]:
    """While an object of ``kind`` is made: what its ``save_hyperparameters`` takes for its arguments."""
    token = _given.set((kind, {**arguments, "_instantiator": INSTANTIATOR}))
    try:
        yield
    finally:
        _given.reset(token)


class AttributeDict(dict[str, Any]):
    """A dict whose keys can be read and written as attributes."""

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError as error:
            hint = did_you_mean(key, map(str, self))
            raise AttributeError(
                f"no hyperparameter {key!r}.{hint} There are {sorted(map(str, self))}; save_hyperparameters() keeps "
                "the arguments of __init__"
            ) from error

    def __setattr__(self, key: str, value: object) -> None:
        self[key] = value

    def __repr__(self) -> str:
        width = max((len(str(key)) for key in self), default=0)
        return "\n".join(f'"{key}":{" " * (width - len(str(key)) + 1)}{value}' for key, value in sorted(self.items()))


class HyperparametersMixin:
    """Gives a class ``save_hyperparameters``, ``hparams`` and ``hparams_initial``."""

    _hparams: Any
    _hparams_initial: MutableMapping[str, Any]
    _hparams_name: str | None = None
    _log_hyperparams: bool = False

    def save_hyperparameters(
        self,
        *args: object,
        ignore: Sequence[str] | str | None = None,
        frame: types.FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep constructor arguments under ``hparams``.

        Args:
            *args: nothing (all arguments of ``__init__``, of subclasses too), names of arguments, or one mapping,
                namespace or config object that holds them all.
            ignore: names to leave out.
            frame: the frame of ``__init__``, where it is not the caller's.
            logger: whether loggers get these hyperparameters.

        Raises:
            MisconfigurationException: ``__init__`` has no argument of such a name.
            ValueError: the one object passed is a plain number, string or list rather than a collection of names.
        """
        self._log_hyperparams = logger
        if frame is None:
            current = inspect.currentframe()
            assert current is not None
            frame = current.f_back
        assert frame is not None
        left_out = {ignore} if isinstance(ignore, str) else set(ignore or ())
        arguments = self._constructor_arguments(frame)
        arguments = {name: value for name, value in arguments.items() if name not in left_out}
        chosen: object
        if not args:
            chosen, self._hparams_name = arguments, "kwargs" if arguments else None
        else:
            names = [arg for arg in args if isinstance(arg, str)]
            if len(names) == len(args):
                unknown = [name for name in names if name not in arguments and name not in left_out]
                if unknown:
                    raise MisconfigurationException(
                        f"save_hyperparameters({unknown[0]!r}): no such argument of {type(self).__name__}; "
                        f"there are {sorted(arguments)}"
                    )
                chosen = {name: arguments[name] for name in names if name in arguments}
                self._hparams_name = "kwargs"
            else:
                chosen = args[0]
                found = [name for name, value in arguments.items() if value is chosen]
                self._hparams_name = found[0] if found else None
        self._set_hparams(chosen)
        for name in left_out:
            self._hparams.pop(name, None)
        _warn_of_modules(self)
        self._hparams_initial = _deep_copy(self._hparams)

    def _constructor_arguments(self, frame: types.FrameType) -> dict[str, Any]:
        given = _given.get()
        if given is not None and type(self) is given[0]:
            return dict(given[1])
        if dataclasses.is_dataclass(self):
            names = {field.name for field in dataclasses.fields(self) if field.init}
            return {name: getattr(self, name) for name in names if hasattr(self, name)}
        return _arguments_of_frames(frame, self)

    def _set_hparams(self, hparams: object) -> None:
        made = _as_hparams(hparams)
        if isinstance(made, dict) and isinstance(self.hparams, dict):
            self.hparams.update(made)
        else:
            self._hparams = made

    @property
    def hparams(self) -> Any:
        """The saved hyperparameters, yours to change (an ``AttributeDict`` or the config object you passed)."""
        if "_hparams" not in self.__dict__:
            self._hparams = AttributeDict()
        return self._hparams

    @property
    def hparams_initial(self) -> MutableMapping[str, Any]:
        """A deep copy of the hyperparameters as they were when saved."""
        return _deep_copy(self.__dict__["_hparams_initial"]) if "_hparams_initial" in self.__dict__ else AttributeDict()


def _warn_of_modules(owner: HyperparametersMixin) -> None:
    """Not dropped, as users may read them; but such a file is read with ``weights_only=False`` alone."""
    hparams = owner._hparams
    if not isinstance(hparams, dict):
        return
    names = [name for name, value in hparams.items() if isinstance(value, torch.nn.Module)]
    if names:
        warn(
            f"hyperparameters {names} of {type(owner).__name__} are modules, which checkpoints would hold as objects "
            f"that only weights_only=False reads; leave them out with save_hyperparameters(ignore={names})"
        )


def drop_unpicklable(owner: HyperparametersMixin) -> None:
    """Take out of ``hparams`` what no checkpoint could hold, with a warning; called as a run begins."""
    hparams = owner.hparams
    if not isinstance(hparams, dict):
        return
    for name in [name for name, value in hparams.items() if not _is_picklable(value)]:
        warn(
            f"hyperparameter {name!r} of {type(owner).__name__} is dropped, since it cannot be pickled "
            f"({type(hparams[name]).__name__}); leave it out with save_hyperparameters(ignore={name!r})"
        )
        del hparams[name]


def merged(parts: Sequence[Any]) -> dict[str, Any]:
    """The hyperparameters of module and datamodule as one record for the loggers.

    Raises:
        RuntimeError: both have a hyperparameter of one name with different values, of which a record could show one.
    """
    found: dict[str, Any] = {}
    for part in ({name: value for name, value in part.items() if name not in OF_COMMAND_LINE} for part in parts):
        differing = sorted(name for name in found.keys() & part.keys() if not _is_same(found[name], part[name]))
        if differing:
            raise RuntimeError(
                f"hyperparameters {differing} of the module and of the datamodule differ, so loggers cannot show both; "
                "rename one, or use save_hyperparameters(logger=False) in one"
            )
        found.update(part)
    return found


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return one is other
    return type(one) is type(other) and bool(one == other)


def _is_picklable(value: object) -> bool:
    if value is None or isinstance(value, (bool, int, float, str)):
        return True
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - user objects fail to be pickled in any way they like
        return False
    return True


def _as_hparams(hparams: object) -> MutableMapping[str, Any]:
    if isinstance(hparams, Namespace):
        hparams = vars(hparams)
    if isinstance(hparams, dict):
        return AttributeDict(hparams)
    if isinstance(hparams, (bool, int, float, str, list, tuple, set)) or hparams is None:
        raise ValueError(
            f"save_hyperparameters got {hparams!r}; pass names of arguments, a mapping, a Namespace or a config object"
        )
    if isinstance(hparams, MutableMapping):
        return hparams
    raise ValueError(f"save_hyperparameters got a {type(hparams).__name__}, which is no mapping; pass vars(...) of it")


def _arguments_of_frames(frame: types.FrameType, owner: object) -> dict[str, Any]:
    """Arguments of every ``__init__`` of ``owner`` that is still running, the most derived class's winning.

    A constructor calls its base's, so the frames from the saving one outwards are those of ever more derived classes;
    looking at whose ``self`` they run keeps constructors of other objects out.
    """
    merged: dict[str, Any] = {}
    current: types.FrameType | None = frame
    while current is not None:
        code = current.f_code
        if code.co_name == "__init__" and code.co_argcount and current.f_locals.get(code.co_varnames[0]) is owner:
            merged.update(_arguments_of_frame(current))
        current = current.f_back
    return merged


def _arguments_of_frame(frame: types.FrameType) -> dict[str, Any]:
    names, _, keywords, values = inspect.getargvalues(frame)
    arguments = {name: values[name] for name in names[1:] if name in values}
    code = frame.f_code
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    arguments.update({name: values[name] for name in keyword_only if name in values})
    if keywords is not None:
        arguments.update(values.get(keywords, {}))
    return arguments


def _deep_copy(hparams: Value) -> Value:
    try:
        return copy.deepcopy(hparams)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        # Something in there (a lock, a live module) has no copy; the names at least stay as they were.
        return copy.copy(hparams)
