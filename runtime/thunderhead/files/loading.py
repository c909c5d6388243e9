"""Making a module or a datamodule again from a ``.ckpt`` file."""

from __future__ import annotations

import csv
import inspect
import io
import os
from ast import literal_eval
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from types import MethodType
from typing import Any, TypeVar

import torch
import yaml

from thunderhead.core.data_hooks import DataModule
from thunderhead.core.hparams import AttributeDict
from thunderhead.core.steps import Steps
from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.files.file import MapLocation, Source, name_of
from thunderhead.files.named_code import code_named_in
from thunderhead.files.schemes import place_of
from thunderhead.warning import warn

Result = TypeVar("Result")
Module = TypeVar("Module", bound=Steps)
Data = TypeVar("Data", bound=DataModule)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ClassOnly:
    """A class method that refuses to be called on an instance, whose state it would not change."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: object | None, owner: type[Result]) -> Callable[..., Result]:
        if instance is None:
            return MethodType(self._function, owner)
        name = self._function.__name__

        def refused(*args: object, **kwargs: object) -> Result:
            raise TypeError(
                f"{owner.__name__}.{name} makes a new instance, so call it on the class and keep what it returns"
            )

        return refused


def load_module(
    cls: type[Module],
    path: Source,
    map_location: MapLocation = None,
    hparams_file: str | os.PathLike[str] | None = None,
    strict: bool | None = None,
    weights_only: bool | None = None,
    **overrides: object,
) -> Module:
    """See ``LightningModule.load_from_checkpoint``."""
    content = _read(path, map_location, weights_only)
    module = _made(cls, content, "hyper_parameters", "hparams_name", hparams_file, overrides)
    if strict is not None:
        module.strict_loading = strict
    module.configure_model()
    module.on_load_checkpoint(content)
    weights = content["state_dict"]
    found = module.load_state_dict(weights, strict=module.strict_loading)
    if not module.strict_loading:
        for kind, keys in (("lacks", found.missing_keys), ("holds also", found.unexpected_keys)):
            if keys:
                warn(f"checkpoint {name_of(path)!r} {kind} {', '.join(keys)}, which strict=False ignores")
    device = next((value.device for value in weights.values() if isinstance(value, torch.Tensor)), None)
    return module if device is None else module.to(device)


def load_datamodule(
    cls: type[Data],
    path: Source,
    map_location: MapLocation = None,
    hparams_file: str | os.PathLike[str] | None = None,
    weights_only: bool | None = None,
    **overrides: object,
) -> Data:
    """See ``LightningDataModule.load_from_checkpoint``."""
    content = _read(path, map_location, weights_only)
    keys = ("datamodule_hyper_parameters", "datamodule_hparams_name")
    datamodule = _made(cls, content, *keys, hparams_file, overrides)
    datamodule.on_load_checkpoint(content)
    kind = type(datamodule).__qualname__
    if kind in content:
        datamodule.load_state_dict(content[kind])
    return datamodule


def _made(
    cls: type[Result],
    content: dict[str, Any],
    values: str,
    name: str,
    hparams_file: str | os.PathLike[str] | None,
    overrides: dict[str, Any],
) -> Result:
    """An object of ``cls``, or of the class derived from it that a command line's run has saved."""
    saved = content.get(values) or {}
    if values == "hyper_parameters" and isinstance(saved, dict):
        saved = {**(content.get("hparams") or {}), **(content.get("module_arguments") or {}), **saved}  # before 0.8
    if hparams_file is not None:
        saved = read_hyperparameters(hparams_file)
    named = code_named_in(saved, cls)
    arguments = constructor_arguments(named.kind, named.left, content.get(name), overrides)
    return _make(cls, arguments) if named.build is None else named.build(arguments)


def constructor_arguments(
    cls: type, saved: MutableMapping[str, Any], argument: object, overrides: dict[str, Any]
) -> dict[str, Any]:
    """Arguments for ``cls``: those ``saved``, then ``overrides``, as far as its constructor takes them.

    Hyperparameters that were one object go to the argument that the object came from, named ``argument``.
    """
    saved = AttributeDict(saved) if isinstance(saved, dict) else saved
    found = inspect.signature(cls).parameters.values()
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in found)
    parameters = {p.name for p in found if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    saved.update(overrides)
    given: dict[str, Any]
    if isinstance(argument, str) and argument in parameters:
        given = {argument: saved, **overrides}
    else:
        given = dict(saved)
        if not takes_all:
            _warn_of_dropped(cls, overrides, parameters)
    return given if takes_all else {key: value for key, value in given.items() if key in parameters}


def _make(cls: type[Result], arguments: Mapping[str, Any]) -> Result:
    try:
        return cls(**arguments)
    except TypeError as error:
        # Asked afterwards: a decorated constructor may get by itself what its signature wants.
        wanted = [
            p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty and p.kind in _NAMED
        ]
        lacking = [name for name in wanted if name not in arguments]
        if lacking and "required" in str(error):
            calls = ", ".join(f"{name}=..." for name in lacking)
            error.add_note(
                f"no hyperparameter {' or '.join(map(repr, lacking))} was saved; pass "
                f"load_from_checkpoint(path, {calls}), and for later ones let {cls.__name__}.__init__ call "
                "self.save_hyperparameters()"
            )
        raise


def _warn_of_dropped(cls: type, overrides: dict[str, Any], parameters: set[str]) -> None:
    """Not an error: scripts pass all their options, as in ``load_from_checkpoint(path, **vars(options))``."""
    for name in overrides:
        if name not in parameters:
            warn(
                f"{cls.__name__}.load_from_checkpoint({name}={overrides[name]!r}) has no effect: "
                f"{cls.__name__}.__init__ has no argument {name!r}.{did_you_mean(name, parameters)}",
            )


def read_hyperparameters(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Hyperparameters from a ``.yaml`` file, or a ``.csv`` file with the columns ``key`` and ``value``.

    Raises:
        MisconfigurationException: another kind of file.
    """
    suffix = Path(path).suffix
    if suffix in (".yaml", ".yml", ".csv"):
        with place_of(os.fspath(path)).read(os.fspath(path)) as stream:
            text = stream.read().decode()
        if suffix == ".csv":
            return {row["key"]: _literal(row["value"]) for row in csv.DictReader(io.StringIO(text, newline=""))}
        return dict(yaml.safe_load(text) or {})
    raise MisconfigurationException(f"hparams_file={os.fspath(path)!r} must end in .yaml or .csv")


def _read(path: Source, map_location: MapLocation, weights_only: bool | None) -> dict[str, Any]:
    from thunderhead.files import file

    return file.read(path, weights_only=weights_only, map_location=map_location)


def _literal(text: str) -> object:
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text
