"""Whether losses and parameters are numbers: found out from what is read anyway, never by waiting for a device.

Per step one loss is put aside. Once a second, with the other values, those put aside are copied together, and looked at
when they have come over; at a save, which waits for the device itself, all of them, and the parameters too.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from thunderhead.results.host_copy import NamedCopies

if TYPE_CHECKING:
    from thunderhead.job.notes import Notes

# What a norm is defined for.
_DTYPES: Final = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128}
)

logger = logging.getLogger(__name__)


class FiniteWatch:
    """The losses of one run.

    Args:
        notes: where the first that is no number is noted.
        speaks: whether this rank says so in the log too.

    Attributes:
        aside: step and loss of the batches not looked at yet; the loop appends to it.
        first: the step of the first loss that was no number, or after which a parameter was found to be none.
    """

    def __init__(self, notes: Notes, *, speaks: bool) -> None:
        self.aside: list[tuple[int, Tensor]] = []
        self.first: int | None = None
        self._notes = notes
        self._speaks = speaks
        self._coming: tuple[list[int], NamedCopies] | None = None

    def resumed(self, first: int | None) -> None:
        """What the run being resumed had found and told."""
        self.first = first
        if first is not None:
            self._notes.not_finite(first)

    def look(self, *, wait: bool) -> None:
        """Look at the losses that have come over, and send for those put aside; ``wait`` for them as well."""
        self._read()
        losses = [(step, loss) for step, loss in self.aside if loss.numel() == 1 and not loss.is_complex()]
        self.aside.clear()
        if losses and self.first is None:
            copies = NamedCopies({str(index): loss for index, (_, loss) in enumerate(losses)})
            self._coming = ([step for step, _ in losses], copies)
        if wait:
            self._read()

    def look_at_all(self, module: torch.nn.Module, step: int) -> None:
        """At a save after ``step``: ``first`` is about everything up to here."""
        self.look(wait=True)
        if self.first is None and not has_finite_parameters(module):
            self._found(step, f"a parameter is no finite number after step {step}")

    def heard(self, step: int | None) -> None:
        """After a save, the earliest of all ranks; this one may have found nothing, or found it later."""
        if step is None or (self.first is not None and self.first <= step):
            return
        if self.first is None:
            self._found(step, f"on another rank the loss of step {step}, or a parameter after it, is no finite number")
        else:
            self.first = step
            self._notes.not_finite(step)

    def _read(self) -> None:
        coming, self._coming = self._coming, None
        if coming is None or self.first is not None:
            return
        steps, copies = coming
        numbers = copies.numbers()
        for index, step in enumerate(steps):
            value = numbers[str(index)]
            if not math.isfinite(value):
                self._found(step, f"the loss of step {step} is {value}")
                return

    def _found(self, step: int, what: str) -> None:
        self.first = step
        self.aside.clear()
        self._notes.not_finite(step)
        if self._speaks:
            logger.warning("%s. Training goes on; the newest checkpoint from before, if there is one, is kept", what)


def has_finite_parameters(module: torch.nn.Module) -> bool:
    """Whether every parameter is a number, as far as can be told; waits for the device."""
    found = [p.detach() for p in module.parameters() if _has_magnitude(p)]
    try:
        # The largest magnitude: it overflows for no finite number, and is no number where one of them is none.
        return not found or bool(torch.nn.utils.get_total_norm(found, norm_type=math.inf).isfinite())
    except (RuntimeError, TypeError) as error:
        # Of a kind that torch has no norm for. Nothing is known against it, and a look must not end training.
        logger.info("the parameters are not looked at: %s", error)
        return True


def _has_magnitude(p: torch.nn.Parameter) -> bool:
    """Not so: uninitialized, of integers, sparse, without storage, empty."""
    known = type(p) is torch.nn.Parameter and p.dtype in _DTYPES and p.layout is torch.strided
    return known and not p.is_meta and p.numel() > 0
