"""Where a run stands: one small record, saved and restored as it is.

A hook may write a file in the midst of what it is a part of. ``next`` then names what was running, and ``due`` whose
functions of that hook were still to come; the run that goes on from the file carries out these, and all that follows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final


class Next(StrEnum):
    """What comes next at a position."""

    EPOCH = "epoch"  # the epoch's start: order of samples not drawn yet, start hooks not called
    EPOCH_START = "epoch start"  # the rest of on_train_epoch_start
    BATCH = "batch"  # a training batch, or the epoch's end where none is left
    BATCH_START = "batch start"  # the rest of on_train_batch_start, for the batch in hand; then its step
    BATCH_END = "batch end"  # the rest of on_train_batch_end; then what follows a batch
    VALIDATE = "validate"  # validation, due after the batch just trained
    VALIDATION_END = "validation end"  # the rest of on_validation_end; then what waited for validation
    EPOCH_END = "epoch end"  # the rest of on_train_epoch_end; then what follows an epoch
    NOTHING = "nothing"  # training is complete


# Between two epochs: no loader is being read.
BETWEEN_EPOCHS: Final = (Next.EPOCH, Next.EPOCH_END, Next.NOTHING)


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
        due: whose functions of the hook that was running are still to come; written in files only, as the next two.
        stepped: whether the newest batch ended its accumulation window.
        last: whether it was the epoch's last.
    """

    epoch: int = 0
    batch: int = 0
    batches: int = 0
    step: int = 0
    log_step: int = 0
    samples: int = 0
    next: Next = Next.EPOCH
    due: tuple[str, ...] = ()
    stepped: bool = True
    last: bool = False

    @property
    def epochs_trained(self) -> int:
        """Epochs all of whose batches are done, also where hooks at the end of the newest are left."""
        return self.epoch + (self.next is Next.EPOCH_END)

    def become(self, other: Position) -> None:
        """Stand where ``other`` does: whoever holds this record goes on from there."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def state_dict(self) -> dict[str, Any]:
        """The record as plain data.

        Without what says nothing, of names that not every release knows: see ``_LATER``.
        """
        state = {**asdict(self), "next": str(self.next), "due": list(self.due)}
        return {name: value for name, value in state.items() if name not in _LATER or value != _LATER[name]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the record back; those of other releases know less, or more."""
        read = {"next": Next, "due": tuple}
        for name in state.keys() & self.__slots__:
            setattr(self, name, read.get(name, _as_it_is)(state[name]))


# Names that the first release refuses, and what its records stand for. Where a job's own training stands is always just
# that, so that after a rollback the first release goes on from its checkpoints.
_LATER: Final = {"due": [], "stepped": True, "last": False}


def _as_it_is(value: object) -> object:
    return value
