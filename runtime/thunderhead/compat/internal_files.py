"""What libraries reach for inside of Lightning around files."""

from __future__ import annotations

import importlib
import os
from typing import IO, Any, cast

import torch
from torch import nn

from thunderhead.compat.internals import _MAP_LOCATION_TYPE, Known


def get_filesystem(path: str | os.PathLike[str], **kwargs: object) -> object:
    """fsspec's file system of a path or URL."""
    from fsspec.core import url_to_fs

    return url_to_fs(os.fspath(path), **kwargs)[0]


def _load(
    path_or_url: str | os.PathLike[str] | IO[bytes],
    map_location: _MAP_LOCATION_TYPE = None,
    weights_only: bool | None = None,
) -> object:
    """Whatever ``torch.save`` wrote there."""
    if not isinstance(path_or_url, str | os.PathLike):
        return torch.load(path_or_url, map_location=cast(Any, map_location), weights_only=weights_only)
    place = importlib.import_module("thunderhead.files.schemes").place_of(os.fspath(path_or_url))
    with place.read(os.fspath(path_or_url)) as stream:
        return torch.load(stream, map_location=cast(Any, map_location), weights_only=weights_only)


def _load_from_checkpoint(
    cls: type, checkpoint_path: object, map_location: _MAP_LOCATION_TYPE = None, **kwargs: object
) -> object:
    """What ``cls.load_from_checkpoint`` returns, past an override of it."""
    loading = importlib.import_module("thunderhead.files.loading")
    load = loading.load_module if issubclass(cls, nn.Module) else loading.load_datamodule
    return load(cls, checkpoint_path, map_location, **kwargs)


def _is_dir(fs: Known, path: str | os.PathLike[str], strict: bool = False) -> bool:
    return bool(fs.isdir(os.fspath(path)))


def _is_local_file_protocol(path: str | os.PathLike[str]) -> bool:
    return "://" not in os.fspath(path) or os.fspath(path).startswith("file://")
