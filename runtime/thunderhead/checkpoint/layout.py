"""Putting restored tensors where their kernels expect them, and refusing those that could not be put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thunderhead.job.errors import UnsupportedState
from thunderhead.layouts import is_plain, laid_out, overlaps_itself
from thunderhead.warning import say


def lay_out_module(module: nn.Module, saved: Mapping[str, Any]) -> None:
    """Let parameters and buffers lie as those of ``saved`` do, as far as these have a layout of their own.

    A plain one leaves the module's as it was built: older checkpoints say nothing about layouts.
    """
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        kept = saved.get(name)
        if not isinstance(kept, Tensor) or kept.shape != tensor.shape or is_plain(kept) or overlaps_itself(kept):
            continue
        if kept.stride() != tensor.stride():
            say(f"{name} is laid out with strides {kept.stride()}, as in the checkpoint, instead of {tensor.stride()}")
            tensor.data = laid_out(tensor.data, kept.stride())


def lay_out_fused_state(optimizer: Optimizer) -> None:
    """Let the state of a fused optimizer lie as its parameters do: its kernels walk both in the order of memory.

    Older job checkpoints forgot the layout, and a module may be given another one before it goes on.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("fused") else ():
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and _in_other_order(value, parameter):
                    state[name] = laid_out(value, parameter.stride())


def _in_other_order(one: Tensor, other: Tensor) -> bool:
    strides = zip(one.shape, one.stride(), other.stride(), strict=True)
    return any(size > 1 and left != right for size, left, right in strides)


def refuse_unfillable(state: Mapping[str, Any], root: str) -> None:
    """Refuse tensors of a module that can be saved and not be loaded again.

    Raises:
        UnsupportedState: elements of one share memory, which ``load_state_dict`` refuses to write to.
    """
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or not value.numel():
            continue
        if any(size > 1 and stride == 0 for size, stride in zip(value.shape, value.stride(), strict=True)):
            raise UnsupportedState(
                f"{root}[{name!r}] is an expanded tensor of shape {list(value.shape)} and strides "
                f"{list(value.stride())}, which could be saved and never be loaded: load_state_dict cannot write "
                "elements that share memory. Register a .clone() of it, or register_buffer(..., persistent=False)"
            )
