"""``status`` of a TrainingJob: everything the operator knows, rebuilt from what it observes."""

from __future__ import annotations

from pydantic import Field

from thunderhead_api.messages import CommittedCheckpoint, Culprit, Message, MetricValue, Name, Text
from thunderhead_api.treaty import Cause, Phase

LEDGER_MAX = 32
METRICS_MAX = 32


class Condition(Message):
    """As Kubernetes' API conventions have it; ``last_transition_time`` changes only when ``status`` does."""

    type: Name
    status: str  # True | False | Unknown
    observed_generation: int
    last_transition_time: str
    reason: Name
    message: Text


class Ending(Message):
    """The intent to end the running attempt, written before any of its pods is touched."""

    cause: Cause
    free: bool
    final: bool = False  # no further attempt: the job is to be Failed
    reason: Name | None = None  # of the Failed condition to come
    culprit: Culprit | None = None
    at: str
    first_step: int | None = None
    last_step: int | None = None
    graceful: bool = False  # a checkpoint is asked for: survivors get the grace period


class LedgerEntry(Message):
    """One execution: an attempt, or a round inside one."""

    attempt: int
    round: int = 0
    cause: Cause
    free: bool
    culprit: Culprit | None = None
    started_at: str
    ended_at: str
    first_step: int | None = None
    last_step: int | None = None
    seconds_lost: float | None = None  # detection → first new step of the next execution


class Restarts(Message):
    """Restarts so far; ``total`` = ``charged`` + ``free``."""

    charged: int = 0
    free: int = 0
    total: int = 0


class Progress(Message):
    """How far training is, as pulled from node 0's agent."""

    epoch: int = 0
    step: int = 0
    max_steps: int | None = None
    percent: int | None = None
    step_seconds: float | None = None
    metrics: dict[Name, MetricValue] = Field(default_factory=dict, max_length=METRICS_MAX)
    updated_at: str


class Goodput(Message):
    """Share of the wall time since the first pod that went into steps that counted."""

    training_seconds: float = 0.0
    ended_training_seconds: float = 0.0  # the share of it that ended attempts have; steps done again are taken off
    wall_seconds: float = 0.0
    ratio_percent: int = 0


class Recovery(Message):
    """The newest recovery: what it cost."""

    cause: Cause
    detected_at: str
    resumed_at: str | None = None
    seconds: float | None = None
    steps_lost: int | None = None


class Nodes(Message):
    """Pods of the running attempt."""

    ready: int = 0
    total: int = 0
    summary: str = "0/0"


class TrainingJobStatus(Message):
    """See the fields."""

    observed_generation: int = 0
    phase: Phase = Phase.PENDING
    conditions: list[Condition] = Field(default_factory=list, max_length=16)
    attempt: int = 0
    attempt_started_at: str | None = None
    pods_created_at: str | None = None  # all pods of the attempt were seen: one that is missing later was deleted
    active_seconds: float = 0.0  # of ended attempts; the running one adds its own
    ledger: list[LedgerEntry] = Field(default_factory=list, max_length=LEDGER_MAX)
    ending: Ending | None = None
    restarts: Restarts = Field(default_factory=Restarts)
    progress: Progress | None = None
    checkpoint: CommittedCheckpoint | None = None
    goodput: Goodput | None = None
    last_recovery: Recovery | None = None
    nodes: Nodes = Field(default_factory=Nodes)
    spec_hash: Name | None = None
    started_at: str | None = None
    finished_at: str | None = None
