"""A copy of live state on the host, for writing while training goes on."""

from __future__ import annotations

import copy
from typing import Any

import torch

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, type)


def detached(tree: Any) -> Any:
    """A deep copy with tensors on the CPU: later changes to the live state do not reach it.

    Tensors that share all of their memory, as tied weights do, share their copy's.
    """
    return _copy(tree, {})


def _copy(tree: Any, made: dict[Any, torch.Tensor]) -> Any:
    if isinstance(tree, torch.Tensor):
        return _copy_tensor(tree, made)
    if isinstance(tree, dict):
        items = {key: _copy(value, made) for key, value in tree.items()}
        return items if type(tree) is dict else type(tree)(items)
    if isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields"):
        return type(tree)(_copy(item, made) for item in tree)
    return tree if isinstance(tree, _PLAIN) else copy.deepcopy(tree)


def _copy_tensor(tensor: torch.Tensor, made: dict[Any, torch.Tensor]) -> torch.Tensor:
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.numel() == 0:
        return tensor.detach().to("cpu", copy=True)
    key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
    if key not in made:
        made[key] = tensor.detach().to("cpu", copy=True)
    return made[key]
