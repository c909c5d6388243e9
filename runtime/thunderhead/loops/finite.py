"""Whether losses and parameters are numbers: found out from what is read anyway, never by waiting for a device.

On the host a loss is looked at as its batch ends. On a device it is copied into a row there, one kernel a step: its
own storage may be overwritten by the next batch, or hold much more than the loss. Once a second, with the other values,
the row is sent for as a whole, and looked at when it has come over; at a save, which waits for the device itself, at
once, and the parameters too. What cannot be looked at counts as a number: the watch ends no training.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from thunderhead.results.host_copy import HostCopy, widest
from thunderhead.standing import logger_of

if TYPE_CHECKING:
    from thunderhead.job.notes import Notes

# What a norm is defined for.
_DTYPES: Final = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128}
)

# Losses of one row; of more batches between two looks, the full rows are sent for earlier.
_ROOM: Final = 1024
# How torch says that it has no such operation for a tensor, that it is none of one element, or that the device failed.
_REFUSALS: Final = (RuntimeError, TypeError, ValueError)

logger = logger_of(__name__)


class FiniteWatch:
    """The losses of one run.

    Args:
        notes: where the first that is no number is noted.
        speaks: whether this rank says so in the log too.

    Attributes:
        first: the step of the first loss that was no number, or after which a parameter was found to be none.
    """

    def __init__(self, notes: Notes, *, speaks: bool) -> None:
        self.first: int | None = None
        self._notes = notes
        self._speaks = speaks
        self._steps: list[int] = []
        self._row: Tensor | None = None
        self._coming: tuple[list[int], HostCopy] | None = None
        self._complained = False

    def resumed(self, first: int | None) -> None:
        """What the run being resumed had found and told."""
        self.first = first
        if first is not None:
            self._notes.not_finite(first)

    def put(self, step: int, loss: Tensor, *, at_once: bool) -> None:
        """The loss of a batch that is done, its storage free again as this returns; ``at_once`` if values are here."""
        try:
            if not (at_once and loss.is_cpu):
                self._put_aside(step, loss)
            elif not math.isfinite(value := loss.item()):
                self._found(step, f"the loss of step {step} is {value}")
        except _REFUSALS as error:
            self._complain(error)

    def look(self, *, wait: bool) -> None:
        """Look at the losses that have come over, and send for those put aside; ``wait`` for them as well."""
        try:
            self._read()
            self._send()
            if wait:
                self._read()
        except _REFUSALS as error:
            self._steps, self._row = [], None
            self._complain(error)

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

    def _put_aside(self, step: int, loss: Tensor) -> None:
        if loss.is_complex() or loss.is_meta:
            return
        if len(self._steps) == _ROOM:
            self.look(wait=False)
        if self._row is None:
            self._row = torch.empty(_ROOM, dtype=widest(loss.device), device=loss.device)
        self._row[len(self._steps)] = loss
        self._steps.append(step)

    def _send(self) -> None:
        (steps, row), self._steps, self._row = (self._steps, self._row), [], None
        if steps and row is not None and self.first is None:
            self._coming = (steps, HostCopy(row[: len(steps)]))

    def _read(self) -> None:
        coming, self._coming = self._coming, None
        if coming is None or self.first is not None:
            return
        steps, copy = coming
        for step, value in zip(steps, copy.numbers(), strict=True):
            if not math.isfinite(value):
                self._found(step, f"the loss of step {step} is {value}")
                return

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            logger.info("some losses are not looked at: %s", error)

    def _found(self, step: int, what: str) -> None:
        self.first = step
        self._steps, self._row = [], None
        self._notes.not_finite(step)
        if self._speaks:
            logger.warning("%s. Training goes on; the newest checkpoint from before, if there is one, is kept", what)


def has_finite_parameters(module: torch.nn.Module) -> bool:
    """Whether every parameter is a number, as far as can be told; waits for the device."""
    found = [p for p in map(_of_this_rank, module.parameters()) if _has_magnitude(p)]
    try:
        # The largest magnitude: it overflows for no finite number, and is no number where one of them is none.
        return not found or bool(torch.nn.utils.get_total_norm(found, norm_type=math.inf).isfinite())
    except (RuntimeError, TypeError) as error:
        # Of a kind that torch has no norm for. Nothing is known against it, and a look must not end training.
        logger.info("the parameters are not looked at: %s", error)
        return True


def _of_this_rank(p: torch.nn.Parameter) -> Tensor:
    """Of one that is spread over ranks, what lies here."""
    to_local = getattr(p.data, "to_local", None)
    if to_local is not None:
        found: Tensor = to_local()
        return found
    return p.data if type(p) is torch.nn.Parameter else p


def _has_magnitude(p: Tensor) -> bool:
    """Not so: uninitialized, of integers, sparse, without storage, empty."""
    known = type(p) is Tensor and p.dtype in _DTYPES and p.layout is torch.strided
    return known and not p.is_meta and p.numel() > 0
