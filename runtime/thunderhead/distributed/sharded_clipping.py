"""Clipping gradients that are spread over ranks, each set of ranks in its own way, by the norm of all of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def clip_by_norm(parameters: Iterable[Tensor], limit: float, order: float = 2.0) -> Tensor:
    """Scale all gradients by one factor, so that their norm as one vector, over all ranks, is at most ``limit``.

    Gradients are told apart by the mesh they are spread over: torch computes with one mesh at a time. Those that are
    not spread are alike on all ranks of a model, and count once.

    Returns:
        The norm before.
    """
    of_mesh: dict[object, list[Tensor]] = {}
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None:
            of_mesh.setdefault(gradient.device_mesh if isinstance(gradient, DTensor) else None, []).append(gradient)
    if not of_mesh:
        return torch.tensor(0.0)
    norms = [_whole(torch.nn.utils.get_total_norm(gradients, order)) for gradients in of_mesh.values()]
    total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), order)
    factor = (limit / (total + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_ has it
    for gradients in of_mesh.values():
        for gradient in gradients:
            _local(gradient).mul_(factor.to(gradient.device))
    return total


def clip_by_value(parameters: Iterable[Tensor], limit: float) -> None:
    """Clamp every element of every gradient to ``limit``: each rank does so with its own."""
    for parameter in parameters:
        if parameter.grad is not None:
            _local(parameter.grad).clamp_(-limit, limit)


def _whole(norm: Tensor) -> Tensor:
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _local(gradient: Tensor) -> Tensor:
    return gradient._local_tensor if isinstance(gradient, DTensor) else gradient
