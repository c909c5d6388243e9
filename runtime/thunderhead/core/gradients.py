"""Looking at gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thunderhead.exceptions import MisconfigurationException


def grad_norm(module: nn.Module, norm_type: float | int | str, group_separator: str = "/") -> dict[str, Tensor]:
    """The norm of every parameter's gradient, and of all of them as one vector.

    Args:
        module: whose parameters; those without a gradient are left out.
        norm_type: order of the norm, or ``"inf"``.
        group_separator: put between the norm's and the parameter's name.

    Returns:
        ``grad_2.0_norm/<parameter>`` and ``grad_2.0_norm_total``, for ``log_dict``; empty without gradients.

    Raises:
        MisconfigurationException: the order is not positive.
    """
    order = float(norm_type)
    if order <= 0:
        raise MisconfigurationException(f"grad_norm(norm_type={norm_type!r}) must be a positive number or 'inf'")
    norms = {
        f"grad_{order}_norm{group_separator}{name}": _norm(parameter.grad.detach(), order)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    if norms:
        norms[f"grad_{order}_norm_total"] = torch.linalg.vector_norm(torch.stack(list(norms.values())), order)
    return norms


def _norm(gradient: Tensor, order: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(gradient, order)
    # Of one that is spread over ranks, over all of them.
    full = getattr(norm, "full_tensor", None)
    if full is not None:
        norm = full()
    return norm
