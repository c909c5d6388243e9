"""``.ckpt`` directories that ranks write together, in torch's format of distributed checkpoints (DCP).

::

    x.ckpt/.metadata          which tensors there are, and in which file each piece of them lies
    x.ckpt/__0_0.distcp …     the pieces: the module's under state_dict, an optimizer's under optimizer_0, …
    x.ckpt/meta.pt            everything else of the content, as a file has it

Reading needs no process group: whoever wants whole tensors gets them, and a rank that wants its piece reads that alone.
"""

from __future__ import annotations

import io
import os
import pickle
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.places import local

if TYPE_CHECKING:
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import Metadata
    from torch.distributed.checkpoint.planner import ReadItem

META: Final = "meta.pt"
_TENSORS: Final = ".metadata"
_ALONE: Final = "torch.distributed is disabled, unavailable or uninitialized"
# Where a tensor of this path, shape and type is to be read into.
Make = Callable[[tuple[Any, ...], torch.Size, torch.dtype], Tensor]
# What the description of a directory may consist of; anything else could run code.
_DESCRIBES: Final = {
    "torch.distributed.checkpoint.metadata": (
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))),
    "collections": ("OrderedDict",),
    "pathlib": ("PosixPath", "WindowsPath"),
    "pathlib._local": ("PosixPath", "WindowsPath"),
}


def is_sharded(path: str) -> bool:
    """Whether a directory is one that ranks wrote together."""
    return os.path.isfile(os.path.join(local(path), _TENSORS))


def read_tensors(path: str, *, safe: bool, make: Make | None = None) -> dict[str, Any]:
    """The content of a directory but for what lies in ``meta.pt``, with optimizers that name their parameters.

    Args:
        path: the directory.
        safe: refuse everything but tensors and plain data.
        make: where tensors are read into; whole ones on the CPU by default. One that is spread over ranks gets the
            elements that lie on this rank, and no other is read.

    Raises:
        MisconfigurationException: its description holds more than plain data, which ``safe`` forbids.
    """
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    reader, planner = _reader(path, safe=safe)
    described = reader.read_metadata()
    paths: Mapping[str, tuple[Any, ...]] = described.planner_data or {}
    flat: dict[str, Any] = {}
    for name, what in described.state_dict_metadata.items():
        at = paths.get(name, (name,))
        if isinstance(what, TensorStorageMetadata):
            flat[name] = _target(make, at, what.size, what.properties.dtype)
        else:
            flat[name] = None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_ALONE)
        load(flat, storage_reader=reader, planner=planner, no_dist=True)
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        _put(tree, paths.get(name, (name,)), value)
    return {key: _listed(value) for key, value in tree.items()}


def _target(make: Make | None, at: tuple[Any, ...], size: torch.Size, dtype: torch.dtype) -> Tensor:
    return torch.empty(size, dtype=dtype) if make is None else make(at, size, dtype)


def arranged(tree: dict[str, Any]) -> dict[str, Any]:
    """What a Trainer wrote, under the keys of a file, with optimizers numbering their parameters."""
    # FSDP1 of Lightning's calls the module so.
    content = {"state_dict": tree.pop("state_dict", None) or tree.pop("model", {})}
    found: list[dict[str, Any]] = []
    while (name := f"optimizer_{len(found)}") in tree:
        found.append(numbered(tree.pop(name)))
    return {**tree, **content, **({"optimizer_states": found} if found else {})}


def numbered(state: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's state by the numbers of its parameters, in the order of its groups."""
    groups = state.get("param_groups", [])
    order = {key: number for number, key in enumerate(key for group in groups for key in group["params"])}
    found = [{**group, "params": [order[key] for key in group["params"]]} for group in groups]
    return {"state": {order[key]: of for key, of in state.get("state", {}).items()}, "param_groups": found}


def write_tensors(state: dict[str, Any], directory: str) -> None:
    """Write every rank's pieces of the tensors in ``state``; all ranks call this, with the same keys.

    Raises:
        OSError: it could not be written, on every rank.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(state, storage_writer=FileSystemWriter(directory))
    except CheckpointException as error:
        rank, failed = next(iter(error.failures.items()))
        raise OSError(f"rank {rank} could not write its part of {directory!r}: {failed[0]}") from error


def _reader(path: str, *, safe: bool) -> tuple[FileSystemReader, DefaultLoadPlanner]:
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    class PlainReader(FileSystemReader):
        def read_metadata(self, *args: object, **kwargs: object) -> Metadata:
            described: Metadata = _Description((Path(self.path) / _TENSORS).read_bytes(), path).load()
            return described

    class Planner(DefaultLoadPlanner):
        def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
            self.state_dict[read_item.dest_index.fqn] = torch.load(value, weights_only=safe, map_location="cpu")

    kind = PlainReader if safe else FileSystemReader
    return kind(local(path)), Planner(flatten_state_dict=False, flatten_sharded_tensors=False)


class _Description(pickle.Unpickler):
    """Reads a description, and refuses what torch's own would run."""

    def __init__(self, content: bytes, path: str) -> None:
        super().__init__(io.BytesIO(content))
        self._path = path

    def find_class(self, module: str, name: str) -> object:
        """One of the few names that a description needs."""
        if name not in _DESCRIBES.get(module, ()):
            raise MisconfigurationException(
                f"checkpoint {self._path!r} names {module}.{name}, which no description needs; pass "
                "weights_only=False if you trust its origin"
            )
        found: object = super().find_class(module, name)
        return found


def _put(tree: MutableMapping[Any, Any], path: tuple[Any, ...], value: object) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _listed(value: object) -> object:
    """Lists that were taken apart are dicts whose keys are numbers; keys of dicts became text."""
    if not isinstance(value, dict):
        return value
    made = {key: _listed(of) for key, of in value.items()}
    if made and all(isinstance(key, int) for key in made):
        return [made[index] for index in sorted(made)]
    return made
