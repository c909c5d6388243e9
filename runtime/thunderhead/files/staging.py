"""A copy of live state on the host, for writing while training goes on."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch

from thunderhead.layouts import laid_out, overlaps_itself, shared_regions

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, type)


State = TypeVar("State")


def detached(tree: State) -> State:
    """A deep copy with tensors on the CPU: later changes to the live state do not reach it.

    They lie as the live ones do, and share memory where these do.
    """
    live = {_place(tensor): tensor for tensor in _tensors_of(tree)}
    copied: State = _copy(tree, dict(zip(live, _copies(list(live.values())), strict=True)))
    return copied


def _tensors_of(tree: object) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _tensors_of(value)
    elif isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields"):
        for item in tree:
            yield from _tensors_of(item)


def _copy(tree: Any, copies: Mapping[Any, torch.Tensor]) -> Any:
    if isinstance(tree, torch.Tensor):
        return copies[_place(tree)]
    if isinstance(tree, dict):
        made = copy.copy(tree)  # of its class, with its factory and attributes
        for key, value in tree.items():
            made[key] = _copy(value, copies)
        return made
    if isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields"):
        return type(tree)(_copy(item, copies) for item in tree)
    return tree if isinstance(tree, _PLAIN) else copy.deepcopy(tree)


def _is_strided(tensor: torch.Tensor) -> bool:
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    return plain and tensor.layout == torch.strided and not tensor.is_nested and tensor.numel() > 0


def _place(tensor: torch.Tensor) -> object:
    """Equal for tensors that are the same memory, seen in the same way."""
    if not _is_strided(tensor):
        return id(tensor)
    seen = (tensor.shape, tensor.stride(), tensor.dtype, tensor.is_conj(), tensor.is_neg())
    return (tensor.device, tensor.data_ptr(), *seen)


def _copies(live: list[torch.Tensor]) -> list[torch.Tensor]:
    copies = [_alone(tensor) for tensor in live]
    strided = [index for index, tensor in enumerate(live) if _is_strided(tensor)]
    for region in shared_regions([live[index] for index in strided]):
        members = [strided[member] for member in region.members]
        memory = region.seen_by(live[members[0]]).to("cpu", copy=True)
        for index in members:
            tensor = live[index]
            start = tensor.storage_offset() - region.start
            copies[index] = memory.as_strided(tensor.shape, tensor.stride(), start)
    return copies


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    copied = tensor.detach().to("cpu", copy=True)
    if not _is_strided(tensor) or copied.stride() == tensor.stride() or overlaps_itself(tensor):
        return copied
    return laid_out(copied, tensor.stride())
