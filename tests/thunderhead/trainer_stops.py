"""SIGTERM at a moment of a run, and what is compared of a run that was stopped and resumed."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch

from thunderhead.callbacks import Callback


class Events(Callback):
    """Every training batch with its loss, and the moments at which somebody may be asked to stop.

    Args:
        moment: the one at which this rank waits until the ranks have begun to agree.
        agreeing: whether they have; called with the trainer.
        terminate: whether SIGTERM comes to this process then.
    """

    def __init__(self, moment: str, agreeing: Callable[[Any], bool], *, terminate: bool) -> None:
        self.batches: list[tuple[int, int, str, str]] = []
        self._moment, self._agreeing, self._terminate = moment, agreeing, terminate

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """A moment."""
        self._at(trainer, f"epoch {trainer.current_epoch} begins")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the batch; a moment."""
        content = hashlib.sha256(batch[0].numpy().tobytes()).hexdigest()
        self.batches.append((trainer.current_epoch, batch_idx, content, float(outputs["loss"]).hex()))
        self._at(trainer, f"batch {trainer.current_epoch}.{batch_idx}")

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        """A moment."""
        where = "sanity" if trainer.sanity_checking else f"validation after {trainer.global_step}"
        self._at(trainer, f"{where}.{rest[2]}")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """A moment."""
        self._at(trainer, f"epoch {trainer.current_epoch} ends")

    def _at(self, trainer: Any, moment: str) -> None:
        if moment != self._moment:
            return
        if self._terminate:
            os.kill(os.getpid(), signal.SIGTERM)
        until = time.monotonic() + 60
        while not self._agreeing(trainer):
            assert time.monotonic() < until, f"nobody agreed on anything at {moment}"
            time.sleep(0.001)


def flat(tree: Any) -> Any:
    """Tensors as their bytes, so that trees can be compared to the bit."""
    if isinstance(tree, torch.Tensor):
        return tree.numpy().tobytes()
    if isinstance(tree, dict):
        return {key: flat(value) for key, value in tree.items()}
    return [flat(value) for value in tree] if isinstance(tree, list) else tree
