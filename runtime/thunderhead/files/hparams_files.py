"""Hyperparameters in files of their own, beside a checkpoint: YAML, or a table of keys and values."""

from __future__ import annotations

import csv
import io
import os
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import yaml

from thunderhead.files.loading import read_hyperparameters
from thunderhead.files.schemes import place_of
from thunderhead.warning import warn


def load_hparams_from_yaml(config_yaml: str | os.PathLike[str], use_omegaconf: bool = True) -> dict[str, Any]:
    """The file's hyperparameters; none, with a warning, where there is no such file.

    Args:
        config_yaml: path or URL of the file.
        use_omegaconf: has no effect: a plain dict is returned.
    """
    return _read(config_yaml)


def save_hparams_to_yaml(
    config_yaml: str | os.PathLike[str], hparams: Mapping[str, Any] | Namespace, use_omegaconf: bool = True
) -> None:
    """Write them; those that YAML has no plain form for are left out, with a warning.

    Args:
        config_yaml: path or URL of the file; its directory is made.
        hparams: by name.
        use_omegaconf: has no effect.

    Raises:
        TypeError: ``hparams`` is neither a mapping nor a namespace.
    """
    kept: dict[str, Any] = {}
    for name, value in _mapping(hparams).items():
        try:
            yaml.safe_dump(value)
        except yaml.YAMLError:
            warn(f"hyperparameter {name!r} is left out: YAML has no plain form for a {type(value).__name__}")
        else:
            kept[str(name)] = value
    _write(config_yaml, yaml.safe_dump(kept, sort_keys=False))


def load_hparams_from_tags_csv(tags_csv: str | os.PathLike[str]) -> dict[str, Any]:
    """The hyperparameters of a table with the columns ``key`` and ``value``; none where there is no such file."""
    return _read(tags_csv)


def save_hparams_to_tags_csv(tags_csv: str | os.PathLike[str], hparams: Mapping[str, Any] | Namespace) -> None:
    """Write a table with the columns ``key`` and ``value``."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([("key", "value"), *((name, str(value)) for name, value in _mapping(hparams).items())])
    _write(tags_csv, text.getvalue())


def update_hparams(hparams: dict[str, Any], updates: Mapping[str, Any]) -> None:
    """Put ``updates`` into ``hparams``, entry by entry where both hold a mapping."""
    for name, value in updates.items():
        if isinstance(value, Mapping) and isinstance(hparams.get(name), dict):
            update_hparams(hparams[name], value)
        else:
            hparams[name] = value


def _mapping(hparams: Mapping[str, Any] | Namespace) -> Mapping[str, Any]:
    found = vars(hparams) if isinstance(hparams, Namespace) else hparams
    if not isinstance(found, Mapping):
        raise TypeError(f"hyperparameters {hparams!r} are neither a mapping nor a Namespace")
    return found


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        return read_hyperparameters(path)
    except FileNotFoundError:
        warn(f"there is no file {os.fspath(path)!r}, so no hyperparameters are read")
        return {}


def _write(path: str | os.PathLike[str], text: str) -> None:
    place, where = place_of(os.fspath(path)), os.fspath(path)
    place.write(where, lambda stream: stream.write(text.encode()))
