"""Where a run stands: one small record, saved and restored as it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Next(StrEnum):
    """What comes next at a position."""

    EPOCH = "epoch"  # the epoch's start: order of samples not drawn yet, start hooks not called
    BATCH = "batch"  # a training batch, or the epoch's end where none is left
    VALIDATE = "validate"  # validation, due after the batch just trained
    NOTHING = "nothing"  # training is complete


@dataclass(slots=True)
class Position:
    """Progress of training.

    Attributes:
        epoch: epochs completed.
        batch: training batches done in the running epoch.
        batches: training batches done in all epochs.
        step: optimizer steps done, over all optimizers.
        log_step: batches after which an optimizer stepped, however many optimizers there are; the loggers' x axis.
        samples: samples this rank trained on in completed epochs.
        next: what comes next.
    """

    epoch: int = 0
    batch: int = 0
    batches: int = 0
    step: int = 0
    log_step: int = 0
    samples: int = 0
    next: Next = Next.EPOCH

    def state_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return {**asdict(self), "next": str(self.next)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the record back."""
        for name, value in state.items():
            setattr(self, name, Next(value) if name == "next" else value)
