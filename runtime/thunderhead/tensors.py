"""Moving a batch to a device, and finding how many samples it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

Data = TypeVar("Data")


class Movable(Protocol):
    """What is no tensor and goes to a device all the same, such as a batch of a class of the user's."""

    def to(self, device: torch.device, /) -> object:
        """Itself there; None where it went by itself."""


def map_tensors(data: object, change: Callable[[Any], Any]) -> Any:
    """``data`` with ``change`` applied to every tensor (and object with a ``to`` method) inside, structure kept.

    Goes through mappings, named tuples, lists, tuples and dataclasses; anything else is returned as it is.
    """
    if isinstance(data, Tensor):
        return change(data)
    if isinstance(data, Mapping):
        items = {key: map_tensors(value, change) for key, value in data.items()}
        if type(data) is dict:
            return items
        made: MutableMapping[Any, Any] = data.copy() if hasattr(data, "copy") else type(data)(items)  # type: ignore[call-arg,assignment]
        made.update(items)
        return made
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(map_tensors(value, change) for value in data))
    if isinstance(data, (list, tuple)):
        return type(data)(map_tensors(value, change) for value in data)
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        changes = {f.name: map_tensors(getattr(data, f.name), change) for f in dataclasses.fields(data) if f.init}
        return dataclasses.replace(data, **changes)
    if callable(getattr(data, "to", None)) and not isinstance(data, torch.nn.Module):
        return change(data)
    return data


def move_to_device(data: Data, device: torch.device) -> Data:
    """``data`` with every tensor on ``device``; copies to an accelerator do not wait for the host."""
    non_blocking = device.type not in ("cpu", "mps")

    def move(value: Tensor | Movable) -> object:
        if isinstance(value, Tensor):
            return value.to(device, non_blocking=non_blocking)
        moved = value.to(device)
        return value if moved is None else moved

    moved_data: Data = map_tensors(data, move)
    return moved_data


def batch_size_of(batch: object) -> tuple[int | None, bool]:
    """The first dimension of the first tensor in ``batch``, and whether another tensor disagrees with it.

    A tensor without dimensions counts as one sample; ``None`` when the batch holds no tensor.
    """
    if batch.__class__ is tuple or batch.__class__ is list:
        # Nearly every batch is a flat pair of tensors; this is once per step.
        size = None
        for item in batch:
            if item.__class__ is not Tensor or not item.ndim:
                break
            first = item.size(0)
            if size is None:
                size = first
            elif first != size:
                return size, True
        else:
            return size, False
    sizes: list[int] = []
    _collect_sizes(batch, sizes)
    return (sizes[0], len(set(sizes)) > 1) if sizes else (None, False)


def _collect_sizes(data: object, sizes: list[int]) -> None:
    if isinstance(data, Tensor):
        sizes.append(data.shape[0] if data.ndim else 1)
    elif isinstance(data, Mapping):
        for value in data.values():
            _collect_sizes(value, sizes)
    elif isinstance(data, (list, tuple)):
        for value in data:
            _collect_sizes(value, sizes)
    elif dataclasses.is_dataclass(data) and not isinstance(data, type):
        for field in dataclasses.fields(data):
            _collect_sizes(getattr(data, field.name), sizes)
