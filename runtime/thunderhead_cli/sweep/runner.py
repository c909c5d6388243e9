"""Where trials run, as the sweep sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from thunderhead_api.conditions import is_true
from thunderhead_api.messages import MetricValue
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import ConditionType
from thunderhead_cli.local.summary import outcome


class Stand(StrEnum):
    """How a trial stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of a trial.

    Attributes:
        stand: how it stands.
        epoch: counted from 0.
        step: optimizer steps done.
        metrics: newest values by name.
        why: of a failure.
    """

    stand: Stand
    epoch: int = 0
    step: int = 0
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    why: str = ""


class Runner(Protocol):
    """Runs trials, several at once."""

    async def start(self, number: int, job: Mapping[str, Any]) -> None:
        """Begin a trial, or go on with one that an earlier command began."""

    async def look(self, numbers: Collection[int]) -> Mapping[int, Seen]:
        """See how trials stand that were started."""

    async def stop(self, number: int) -> None:
        """Have it commit a checkpoint and end; ``look`` says when it has."""

    async def kill(self) -> None:
        """End everything that runs on this machine, at once."""

    def where(self, number: int) -> str:
        """What a user types to see or repeat a trial."""


def seen_in(status: TrainingJobStatus) -> Seen:
    """How a job with this status stands."""
    progress = status.progress
    stand, why = Stand.RUNNING, ""
    if is_true(status.conditions, ConditionType.COMPLETE):
        stand = Stand.COMPLETE
    elif is_true(status.conditions, ConditionType.FAILED):
        stand, why = Stand.FAILED, outcome(status).removeprefix("Failed: ")
    elif is_true(status.conditions, ConditionType.SUSPENDED):
        stand = Stand.STOPPED
    if progress is None:
        return Seen(stand=stand, why=why)
    return Seen(stand=stand, epoch=progress.epoch, step=progress.step, metrics=progress.metrics, why=why)
