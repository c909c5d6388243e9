"""What ModelCheckpoint is about to do: decided by rank 0, told to the others in one broadcast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thunderhead.callbacks.checkpoint_policy import Decision

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Best:
    """A file among the best.

    Attributes:
        path: where it is written.
        score: its metric, a scalar; None where none is monitored.
        remove: path of the file that it replaces, or "".
    """

    path: str
    score: Tensor | None
    remove: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens at one moment.

    Attributes:
        decision: what the policy says.
        best: the file among the best, if there is to be one.
        last: path of the last checkpoint, if it is to be written.
        missing: what to tell of a monitored metric that is not there, or "".
    """

    decision: Decision
    best: Best | None = None
    last: str | None = None
    missing: str = ""


def planned(trainer: Trainer, make: Callable[[], Plan]) -> Plan:
    """The plan that ``make`` makes on rank 0, on every rank: one broadcast.

    Raises:
        Exception: what ``make`` raised, on rank 0.
        OSError: the same, told to the other ranks, which would wait for ever otherwise.
    """
    failure: Exception | None = None
    made: Plan | None = None
    said: dict[str, Any] | str | None = None
    if trainer.is_global_zero:
        try:
            made = make()
            said = _in_words(made)
        except Exception as error:  # noqa: BLE001 - raised below, once the other ranks know that they need not wait
            failure, said = error, f"{type(error).__name__}: {error}"
    said = trainer.strategy.tell(said)
    if failure is not None:
        raise failure
    if isinstance(said, str):
        raise OSError(f"rank 0 could not plan the checkpoint of step {trainer.global_step}: {said}")
    return made or _from_words(said, trainer.strategy.root_device)


def _in_words(plan: Plan) -> dict[str, Any]:
    score = plan.best.score if plan.best is not None else None
    best = None
    if plan.best is not None:
        number = None if score is None else [score.item(), str(score.dtype), score.device.type]
        best = {"path": plan.best.path, "score": number, "remove": plan.best.remove}
    return {"decision": plan.decision, "best": best, "last": plan.last, "missing": plan.missing}


def _from_words(said: dict[str, Any], device: torch.device) -> Plan:
    best, score = said["best"], None
    if best is not None and best["score"] is not None:
        number, dtype, where = best["score"]
        kind = getattr(torch, dtype.removeprefix("torch."))
        score = torch.tensor(number, dtype=kind, device=device if where == device.type else "cpu")
    return Plan(
        decision=Decision(said["decision"]),
        best=None if best is None else Best(best["path"], score, best["remove"]),
        last=said["last"],
        missing=said["missing"],
    )
