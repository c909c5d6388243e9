"""Clipping in a loop of the user's own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from thunderhead.distributed.base import Strategy


def clip(
    strategy: Strategy,
    optimizer: Optimizer,
    *,
    value: float | None,
    norm: float | None,
    order: float,
    finite_only: bool,
) -> Tensor | None:
    """Clip by value, or by norm, which is returned; see ``Fabric.clip_gradients``.

    Raises:
        ValueError: both or neither.
        RuntimeError: ``finite_only``, and the norm is no number.
    """
    if (value is None) == (norm is None):
        raise ValueError(f"Fabric.clip_gradients(clip_val={value}, max_norm={norm}): pass one of them, and not both")
    if value is not None:
        strategy.clip_gradients(optimizer, value, "value")
        return None
    assert norm is not None, "one of the two was passed"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not strategy.spreads:
        return torch.nn.utils.clip_grad_norm_(parameters, norm, norm_type=order, error_if_nonfinite=finite_only)
    from thunderhead.distributed.sharded_clipping import clip_by_norm

    total = clip_by_norm(parameters, norm, order)
    if finite_only and not bool(total.isfinite()):
        raise RuntimeError(
            f"the gradients' norm is {total.item()}, so they cannot be clipped by it; pass error_if_nonfinite=False to "
            "clip anyway"
        )
    return total
