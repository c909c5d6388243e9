"""The Trainer's arguments by name: unknown and former ones are refused, and the environment may give some."""

from __future__ import annotations

import functools
import inspect
import os
from ast import literal_eval
from collections.abc import Callable, Mapping
from typing import Any

from thunderhead.exceptions import UnknownArgument, did_you_mean
from thunderhead.trainer.removed_arguments import SUCCESSORS
from thunderhead.warning import warn_once

_NOT_OURS = {
    "model_registry": "it belongs to a hosted service of Lightning's vendor; pass a path as ckpt_path",
    "suggest_integrations": "there are no tips that it could switch off; leave it out",
}


def keyword_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """Refuse unknown names with the closest known one, and fill in ``PL_TRAINER_<ARGUMENT>`` from the environment."""
    known = [name for name in inspect.signature(init).parameters if name != "self"]

    @functools.wraps(init)
    def checked(self: object, **given: object) -> None:
        for name in given:
            if name not in known:
                raise UnknownArgument(f"Trainer has no argument {name!r}{_instead(name, known)}")
        for message in unknown_variables(os.environ, known):
            warn_once(message)
        init(self, **{**from_environment(os.environ, known), **given})

    return checked


def _instead(name: str, known: list[str]) -> str:
    if name in _NOT_OURS:
        return f": {_NOT_OURS[name]}"
    if name in SUCCESSORS:
        return f", which Lightning 1.x had: {SUCCESSORS[name]}"
    return f".{did_you_mean(name, known)} See the documentation of Trainer for all"


def from_environment(environ: Mapping[str, str], known: list[str]) -> dict[str, Any]:
    """Arguments set by ``PL_TRAINER_<ARGUMENT>``, read as Python literals where they are."""
    found: dict[str, Any] = {}
    for name in known:
        text = environ.get(f"PL_TRAINER_{name.upper()}")
        if text is None:
            continue
        try:
            found[name] = literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def unknown_variables(environ: Mapping[str, str], known: list[str]) -> list[str]:
    """What to say of each ``PL_TRAINER_`` variable that names no argument; not an error, others may read it."""
    names = [f"PL_TRAINER_{name.upper()}" for name in known]
    return [
        f"{variable}={environ[variable]!r} names no argument of Trainer and has no effect{_meant(variable, names)}"
        for variable in sorted(environ)
        if variable.startswith("PL_TRAINER_") and variable not in names
    ]


def _meant(variable: str, names: list[str]) -> str:
    successor = SUCCESSORS.get(variable.removeprefix("PL_TRAINER_").lower())
    return f": {successor}" if successor else f".{did_you_mean(variable, names)}"
