"""The loss of every step, to the bit, so that two runs can be compared."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from thunderhead.core.hooks import StepOutput
from thunderhead.user.callback import Callback

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class StepTrace(Callback):
    """Appends one JSON line per training batch: ``{"step": 7, "epoch": 0, "batch": 6, "loss": "0x1.2p-1"}``.

    ``step`` counts optimizer steps after the batch; the loss is a hexadecimal float, so equal text means equal bits. A
    run that resumed repeats the lines of the steps it repeats. Reads the loss of every step, which makes an accelerator
    wait.

    Args:
        path: file to append to; ranks other than 0 append ``.rank<N>`` to it.
        key: entry of the step's outputs to record.
    """

    def __init__(self, path: str | os.PathLike[str], key: str = "loss") -> None:
        self.path = Path(path)
        self.key = key

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose this rank's file."""
        rank = trainer.global_rank
        self._file = self.path if rank == 0 else self.path.with_name(f"{self.path.name}.rank{rank}")
        self._file.parent.mkdir(parents=True, exist_ok=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: object, batch_idx: int
    ) -> None:
        """Append a line, in one write, so that a crash leaves whole lines."""
        loss = outputs.get(self.key) if isinstance(outputs, Mapping) else outputs
        record = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "batch": batch_idx,
            self.key: None if loss is None else float(loss).hex(),
        }
        with self._file.open("a") as stream:
            stream.write(json.dumps(record) + "\n")
