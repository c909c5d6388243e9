"""What a run holds in the midst of a batch: the batch itself, and gradients that no optimizer step has used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thunderhead.core.position import Next, Position
from thunderhead.core.state import TrainerStatus
from thunderhead.files.staging import detached
from thunderhead.run.moment import batch_in_hand
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.warning import warn_once


def hand_of(run: Run, training: Training, position: Position) -> dict[str, Any] | None:
    """The batch that whoever goes on at ``position`` needs: to train on it, or for hooks at its end that are left.

    Reading it again would draw random numbers again, and some loaders cannot. None where nobody needs it.
    """
    if training.left.hand is not None:
        return training.left.hand
    batch = batch_in_hand(training)
    if batch is None or not run.fitting:
        return None
    outputs, index = None, position.batch
    if position.next is Next.BATCH_END:
        if not position.due:
            return None
        index -= 1
        running = run.hooks.running
        if running is not None and running[0] == "on_train_batch_end":
            outputs, batch, index = running[3]
    elif run.state.status is TrainerStatus.INTERRUPTED and training.data is not None and training.data.rereadable:
        return None
    found = {"batch": batch, "outputs": outputs, "index": index}
    if _is_plain(found):
        kept: dict[str, Any] = detached(found)
        return kept
    warn_once(
        f"a file is written while a batch of type {type(batch).__name__} is in hand, which is no list, tuple or dict "
        "of tensors and plain data, so the file does not hold it: hooks at its end that are still to come are not "
        "called by who goes on from it, and if its step is still to come, some loaders leave it out"
    )
    return None


def gradients_of(run: Run, training: Training, position: Position) -> dict[str, Any] | None:
    """Gradients of an accumulation window that is open at ``position``, by parameter."""
    if training.left.gradients is not None:
        return training.left.gradients
    module, steps = run.module, training.optimizers.steps
    inside = position.batch % run.options.accumulate_grad_batches != 0 and not position.last
    opened = inside if module.automatic_optimization else steps is not None and steps.unstepped
    if not run.fitting or not opened:
        return None
    return run.strategy.gradients(module)


def mean_gradients(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What all ranks of another number of ranks take for their own: it reduces to what those of before would have."""
    names = {name: None for part in parts for name in part}
    return {name: torch.stack([part[name] for part in parts if name in part]).sum(0) / len(parts) for name in names}


def _is_plain(data: object) -> bool:
    if isinstance(data, list | tuple) and type(data) in (list, tuple):
        return all(map(_is_plain, data))
    if type(data) is dict:
        return all(map(_is_plain, data)) and all(map(_is_plain, data.values()))
    return type(data) in (Tensor, type(None), bool, int, float, str, bytes)
