"""Questions about optimisation: what a step returned, how an optimizer calls it, and whether it did."""

from __future__ import annotations

from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.optim.optimizer import _global_optimizer_pre_hooks

from thunderhead.exceptions import MisconfigurationException
from thunderhead.precision import MixedPrecision, Precision
from thunderhead.warning import warn_once


def loss_in(output: object) -> Tensor:
    """The loss that a ``training_step`` of automatic optimisation returned, itself or under ``loss``.

    Raises:
        MisconfigurationException: there is none.
    """
    loss = output.get("loss") if isinstance(output, dict) else output
    if isinstance(loss, Tensor):
        return loss
    found = f"a dict with keys {sorted(output)}" if isinstance(output, dict) else f"a {type(output).__name__}"
    raise MisconfigurationException(
        f"training_step returned {found}; in automatic optimisation it must return the loss, "
        "a dict with the loss under 'loss', or None to skip the batch"
    )


def scales_gradients(precision: Precision) -> bool:
    """Whether this precision has its own way of backward and step; autocast alone has not."""
    if isinstance(precision, MixedPrecision) and precision.scaler is None:
        return False
    kind = type(precision)
    return kind.backward is not Precision.backward or kind.optimizer_step is not Precision.optimizer_step


def evaluates_closure_first(optimizer: Optimizer, precision: Precision) -> bool:
    """Whether ``optimizer.step(closure)`` is the same as calling the closure, then ``step()``.

    So do torch's own optimizers but LBFGS, unless a hook is to see the moment before the closure. Precisions that scale
    gradients step the optimizer themselves.
    """
    return (
        type(optimizer).__module__.startswith("torch.optim.")
        and not isinstance(optimizer, LBFGS)
        and not optimizer._optimizer_step_pre_hooks
        and not _global_optimizer_pre_hooks
        and not scales_gradients(precision)
    )


def closure_was_left_out(module: object, optimizer: Optimizer) -> str:
    """What to say when a step ended and ``training_step`` had not run."""
    return (
        f"optimizer_step of {type(module).__name__} with {type(optimizer).__name__} ended without calling its closure, "
        "so the batch was not trained on; pass it on with optimizer.step(closure=optimizer_closure), or call it"
    )


def step_without_loss(world_size: int) -> None:
    """A ``training_step`` returned None, which a single process may do.

    Raises:
        RuntimeError: there are other ranks.
    """
    if world_size > 1:
        raise RuntimeError(
            "training_step returned None on a rank of a distributed run; the other ranks would wait for its "
            "gradients for ever. Return a loss on every rank (multiplied by 0.0 to ignore the batch)"
        )
    warn_once("training_step returned None: no backward for that batch, though the optimizer steps")
