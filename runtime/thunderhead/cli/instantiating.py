"""Objects from their description on a command line or in a checkpoint that such a run has written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from jsonargparse import ArgumentParser

from thunderhead.core.hparams import given_hyperparameters


class KeptAsGiven:
    """Makes module or datamodule so that ``save_hyperparameters`` keeps what was written, not what ``__init__`` got.

    An encoder, say, stays a class path with arguments, which a checkpoint can hold and ``load_from_checkpoint`` build.

    Args:
        key: ``model`` or ``data``.
        described: gives what was written under it.
    """

    def __init__(self, key: str, described: Callable[[], Mapping[str, Any]]) -> None:
        self._key = key
        self._described = described

    def __call__(
        self, class_type: type, *args: object, applied_instantiation_links: Mapping[str, Any], **kwargs: object
    ) -> object:
        """The object, made by jsonargparse's rules.

        Args:
            class_type: its class.
            *args: for it.
            applied_instantiation_links: what links gave, by the key that was given it.
            **kwargs: for it.
        """
        described = deepcopy(dict(self._described()))  # links are put into it
        kept = described
        if "class_path" in described:
            named = described["class_path"]
            arguments = {**described.get("init_args", {}), **described.get("dict_kwargs", {})}
            if named.rpartition(".")[2] != class_type.__qualname__:
                return class_type(*args, **kwargs)  # a part of it of the same kind
            kept = {"_class_path": named, **arguments}
        for target, value in applied_instantiation_links.items():
            path = target.removeprefix(f"{self._key}.").removeprefix("init_args.")
            if target.startswith(f"{self._key}."):
                _put(kept, path.split("."), value)
        with given_hyperparameters(class_type, kept):
            return class_type(*args, **kwargs)


def _put(arguments: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        arguments = arguments.setdefault(part, {})
    arguments[path[-1]] = value


def instantiate_module(class_type: type, config: Mapping[str, Any]) -> Any:
    """A module or datamodule from the hyperparameters that a command line's run has saved.

    Args:
        class_type: its class, or one that it derives from.
        config: arguments by name; under ``_class_path`` the class itself.
    """
    parser = ArgumentParser(exit_on_error=False)
    arguments = {name: value for name, value in config.items() if name != "_class_path"}
    if "_class_path" in config:
        parser.add_subclass_arguments(class_type, "module", fail_untyped=False)
        described = {"class_path": config["_class_path"], "dict_kwargs": arguments}
    else:
        parser.add_class_arguments(class_type, "module", fail_untyped=False)
        described = arguments
    return parser.instantiate(parser.parse_object({"module": described})).module
