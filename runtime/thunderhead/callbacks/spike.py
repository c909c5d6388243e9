"""A loss that jumps ends training, and says which batches to leave out."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

from thunderhead.arguments import directory, one_of, real_number, switch, whole_number
from thunderhead.core.hooks import StepOutput
from thunderhead.files.schemes import place_of
from thunderhead.user.callback import Callback

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_FILE: Final = "skip_batches.json"


class TrainingSpikeException(RuntimeError):
    """A loss has jumped.

    Attributes:
        batch_idx: the batch's number in its epoch.
    """

    def __init__(self, batch_idx: int, told: str = "") -> None:
        super().__init__(f"the loss of batch {batch_idx} is a spike{told}")
        self.batch_idx = batch_idx


class SpikeDetection(Callback):
    """Ends training with ``TrainingSpikeException`` when a loss is far worse than those before.

    Rank 0 then writes the numbers of the batch and of the one before it, which may have brought the weights there, to a
    file; it is the user's to leave them out. On several ranks a spike on one ends all. It reads the loss of each batch,
    which waits for a device.

    Args:
        mode: ``min`` or ``max``: what is better.
        window: over how many losses the running mean is taken.
        warmup: number of the first batch of an epoch that is looked at.
        atol: a spike is at least this far from the mean; None for any distance.
        rtol: a spike is at least this many times the mean away from it; None for any distance.
        exclude_batches_path: the file, or the directory of it; by default ``default_root_dir``.
        finite_only: a loss that is no number is a spike.

    Attributes:
        bad_batches: what the file says.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """

    def __init__(
        self,
        mode: str = "min",
        window: int = 10,
        warmup: int = 1,
        atol: float | None = None,
        rtol: float | None = 2.0,
        exclude_batches_path: str | os.PathLike[str] | None = None,
        finite_only: bool = True,
    ) -> None:
        name = type(self).__name__
        self.mode = one_of(f"{name}: mode", mode, ("min", "max"))
        self._losses: deque[float] = deque(maxlen=whole_number(f"{name}: window", window, least=1))
        self.warmup = whole_number(f"{name}: warmup", warmup, least=0)
        self.atol = real_number(f"{name}: atol", atol, optional=True)
        self.rtol = real_number(f"{name}: rtol", rtol, optional=True)
        self.exclude_batches_path = (
            None if exclude_batches_path is None else directory(f"{name}: exclude_batches_path", exclude_batches_path)
        )
        self.finite_only = switch(f"{name}: finite_only", finite_only)
        self.bad_batches: list[int] = []
        self.last_val = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The losses of another run say nothing of one that begins."""
        if stage == "fit" and trainer.global_step == 0:
            self._losses.clear()
            self.bad_batches, self.last_val = [], 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: object, batch_idx: int
    ) -> None:
        """Look at the loss.

        Raises:
            TrainingSpikeException: it has jumped, on this rank or another.
            TypeError: there is none.
        """
        loss = outputs if isinstance(outputs, Tensor) else (outputs or {}).get("loss")
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"{type(self).__name__} looks at losses, and training_step of {type(pl_module).__name__} returned none "
                f"for batch {batch_idx}; return the loss, or drop the callback"
            )
        value = loss.item()
        spike = batch_idx >= self.warmup and self.is_spike(value)
        if trainer.world_size > 1:
            spike = trainer.strategy.reduce_boolean_decision(spike, all=False)
        if spike:
            self._end(trainer, batch_idx)
        if math.isfinite(value):
            self._losses.append(value)
            self.last_val = value

    def is_spike(self, value: float) -> bool:
        """Whether a loss is one, beside those before."""
        if not math.isfinite(value):
            return self.finite_only
        better = value <= self.last_val if self.mode == "min" else value >= self.last_val
        if better or not self._losses:
            return False
        mean = math.fsum(self._losses) / len(self._losses)
        distance = abs(value - mean)
        far = self.atol is None or distance >= abs(self.atol)
        return far and (self.rtol is None or distance >= abs(self.rtol * mean))

    def state_dict(self) -> dict[str, Any]:
        """The losses of the window."""
        return {"last_val": self.last_val, "losses": list(self._losses), "bad_batches": list(self.bad_batches)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.last_val = state_dict["last_val"]
        self._losses.clear()
        self._losses.extend(state_dict.get("losses", ()))
        self.bad_batches = list(state_dict["bad_batches"])

    def _end(self, trainer: Trainer, batch_idx: int) -> None:
        self.bad_batches += [batch_idx - 1, batch_idx]
        path = trainer.default_root_dir if self.exclude_batches_path is None else self.exclude_batches_path
        path = path if path.endswith(".json") else os.path.join(path, _FILE)
        if trainer.is_global_zero:
            text = json.dumps(self.bad_batches, indent=4).encode()
            place_of(path).write(path, lambda file: file.write(text))
        raise TrainingSpikeException(batch_idx, f"; it and the batch before are listed in {path}")
