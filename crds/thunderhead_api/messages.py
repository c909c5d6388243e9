"""What crosses between runtime and operator: the frozen job going in, status and termination record coming out.

Readers are tolerant of unknown keys (a newer writer may say more) and strict on what they use. What comes out of a pod
any process of it may have written, so every number is bounded to what JSON and the API server can hold.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from thunderhead_api.trainer import INT32_MAX, INT53_MAX
from thunderhead_api.treaty import RESUME_NOTES_MAX, STATUS_MAX_METRICS, STATUS_MAX_RANKS, TREATY_VERSION, Outcome

Name = Annotated[str, StringConstraints(max_length=253)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Moment = Annotated[str, StringConstraints(max_length=64)]
Rank = Annotated[int, Field(ge=0, le=INT32_MAX)]
Count = Annotated[int, Field(ge=0, le=INT53_MAX)]
Code = Annotated[int, Field(ge=-(2**31), le=2**32)]
Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]

_Word = Literal["NaN", "Infinity", "-Infinity"]
_WORDS: Final[dict[float, _Word]] = {math.inf: "Infinity", -math.inf: "-Infinity"}


def spelled(value: float | _Word) -> float | _Word:
    """JSON has no NaN: what is no finite number is a word."""
    return value if isinstance(value, str) or math.isfinite(value) else _WORDS.get(value, "NaN")


MetricValue = Annotated[float | _Word, AfterValidator(spelled)]


class Message(BaseModel):
    """Base: camelCase on the wire, snake_case here, frozen."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


class CommittedCheckpoint(Message):
    """The newest acknowledged checkpoint."""

    uri: Text
    """Where its manifest is."""
    step: Count
    """Optimizer step it was taken after."""
    committed_at: Moment
    """When its commit was acknowledged: RFC 3339, whole seconds, Z."""


class FrozenJob(Message):
    """The resolved job of one attempt, as the pod's ``job.json``; ``spec`` as the models dump it."""

    treaty: int = TREATY_VERSION
    namespace: Name
    name: Name
    uid: Name
    attempt: int = Field(ge=1)
    nodes: int = Field(ge=1)
    processes_per_node: int = Field(ge=1)
    spec_hash: Name
    reached_step: int = Field(default=0, ge=0)
    """Highest step an earlier execution reached; steps up to it are repetitions and no goodput."""
    checkpoint: CommittedCheckpoint | None = None
    """Newest commit that the job's status knows of as the attempt begins: where none is found, it is missing."""
    spec: dict[str, Any]

    @property
    def world_size(self) -> int:
        """Processes of the whole job."""
        return self.nodes * self.processes_per_node


class TimeSpent(Message):
    """Seconds by what they were spent on; a kind without any is absent."""

    counted: Seconds | None = None
    """In steps that counted: those that no execution had done before."""
    repeated: Seconds | None = None
    """In steps done again after a recovery."""
    validation: Seconds | None = None
    """In validation; in a job that validates, tests or predicts, in that."""
    checkpoint_stall: Seconds | None = None
    """Training stood still for a checkpoint."""
    starting: Seconds | None = None
    """From having a place to the first step, without restoring: images, containers, imports, the meeting, set-up."""
    restoring: Seconds | None = None
    """In reading a checkpoint back."""
    recovering: Seconds | None = None
    """From the last word of an attempt that failed, or was taken away, to the next attempt."""
    suspended: Seconds | None = None
    """No pod was wanted."""
    queued: Seconds | None = None
    """Pods were wanted and had no place, or could not be made."""
    other: Seconds | None = None
    """Of an execution what is none of these: ends of epochs, reading data before the first batch, stopping."""


class Culprit(Message):
    """The first failure of an execution; every field that could be found out."""

    rank: Rank | None = None
    """Rank of the process that failed first."""
    node_rank: Rank | None = None
    """Rank of its pod among the pods of the attempt."""
    pod: Name | None = None
    """Name of its pod."""
    node: Name | None = None
    """Kubernetes node that the pod ran on."""
    exit_code: Code | None = None
    """Exit code of the process or, where that is not known, of the container."""
    signal: Name | None = None
    """Signal that killed it, as in SIGKILL."""
    reason: Name | None = None
    """In a word: OutOfMemory, ValueError, CheckpointDenied."""
    message: Text | None = None
    """What it said last: the end of the traceback."""
    step: Count | None = None
    """Optimizer step it was at."""
    place: Name | None = None
    """File and line of the user's code that raised, where that is no bad luck (memory, peers, network, storage)."""


class SkippedCheckpoints(Message):
    """Checkpoints that training went on without, because the store did not take them."""

    total: Count
    """How many, in this attempt."""
    in_a_row: Count = 0
    """How many since the newest committed one; 0 once the store takes them again."""
    why: Text | None = None
    """What the store said of the newest one."""


class PassedOverCheckpoint(Message):
    """A committed checkpoint that could not be read back whole, so that an older one was gone on from."""

    step: Count
    """Optimizer step it was taken after."""
    uri: Text
    """Where its manifest is, or was."""
    why: Text
    """What is wrong with it."""


class RankStatus(Message):
    """One rank as its node's agent sees it."""

    rank: Rank
    node_rank: Rank
    phase: Name
    step: Count
    age_seconds: Seconds  # since the last sign of life
    step_seconds: Seconds
    non_finite_step: Count | None = None  # the first at which this rank found what is no number


class StrangerReply(Message):
    """Answer of an agent's ``/status`` to who does not name its job's uid and attempt: nothing that identifies it."""

    treaty: int = TREATY_VERSION
    phase: Name
    world_size: Rank
    ranks_met: Rank = 0  # ranks that have passed the rendezvous
    step: Count = 0
    max_steps: Count | None = None
    percent: int | None = Field(default=None, ge=0, le=100)


class StatusReply(Message):
    """Answer of an agent's ``/status`` to who names its job. Node 0's holds every rank; another node's its own."""

    treaty: int = TREATY_VERSION
    uid: Name
    attempt: Count
    round: Count = 0
    node_rank: Rank
    phase: Name
    world_size: Rank
    ranks_met: Rank = 0  # ranks that have passed the rendezvous
    missing_nodes: list[Rank] = Field(default_factory=list, max_length=STATUS_MAX_RANKS)
    epoch: Count = 0
    step: Count = 0
    first_step: Count | None = None  # step this execution began from
    max_steps: Count | None = None
    percent: int | None = Field(default=None, ge=0, le=100)
    step_seconds: Seconds | None = None
    training_seconds: Seconds = 0.0  # spent in steps that counted, this execution
    spent: TimeSpent | None = None  # since the agent started, by kind
    first_step_at: Moment | None = None  # RFC 3339 with fractions: when the first new step of this execution ended
    metrics: dict[Name, MetricValue] = Field(default_factory=dict, max_length=STATUS_MAX_METRICS)
    metrics_left_out: Count = 0  # logged, and not among these
    checkpoint: CommittedCheckpoint | None = None
    # The first step whose loss, or after which a parameter, was no number, on any of these ranks.
    non_finite_step: Count | None = None
    skipped_checkpoints: SkippedCheckpoints | None = None
    resume_notes: list[Text] = Field(default_factory=list, max_length=RESUME_NOTES_MAX)  # what it made of edits
    passed_over: list[PassedOverCheckpoint] = Field(default_factory=list, max_length=8)  # as it began, newest first
    ranks: list[RankStatus] = Field(default_factory=list, max_length=STATUS_MAX_RANKS)


class TerminationRecord(Message):
    """One JSON record of at most 4,096 bytes in the container's termination message."""

    treaty: int = TREATY_VERSION
    uid: Name
    attempt: Count
    round: Count = 0
    node_rank: Rank
    outcome: Outcome
    culprit: Culprit | None = None
    first_step: Count | None = None
    last_step: Count | None = None
    first_step_at: Moment | None = None
    training_seconds: Seconds = 0.0
    spent: TimeSpent | None = None
    checkpoint: CommittedCheckpoint | None = None
    passed_over: list[PassedOverCheckpoint] = Field(default_factory=list, max_length=8)
    non_finite_step: Count | None = None
    metrics: dict[Name, MetricValue] = Field(default_factory=dict, max_length=8)
