"""``status`` of a TrainingJob: everything the operator knows, rebuilt from what it observes."""

from __future__ import annotations

from pydantic import Field, computed_field

from thunderhead_api.messages import (
    CommittedCheckpoint,
    Culprit,
    Message,
    MetricValue,
    Name,
    PassedOverCheckpoint,
    SkippedCheckpoints,
    Text,
    TimeSpent,
)
from thunderhead_api.treaty import RESUME_NOTES_MAX, Cause, Phase

LEDGER_MAX = 32
METRICS_MAX = 32
CHANGES_MAX = 16


class Condition(Message):
    """As Kubernetes' API conventions have it."""

    type: Name
    """Complete, Failed, Suspended, Running, Restarting, Blocked or CodeChanged."""
    status: str
    """True, False or Unknown."""
    observed_generation: int
    """Generation of the spec that this was said of."""
    last_transition_time: str
    """Since when the status is what it is; a new reason or message leaves it."""
    reason: Name
    """In a word, for programs."""
    message: Text
    """In a sentence, for people."""


class Ending(Message):
    """The intent to end the running attempt, written before any of its pods is touched."""

    cause: Cause
    """Why it ends."""
    free: bool
    """True: the restart budget is not charged."""
    final: bool = False
    """True: no further attempt, the job is to be Failed."""
    reason: Name | None = None
    """Reason of the Failed condition to come."""
    culprit: Culprit | None = None
    """The first failure."""
    at: str
    """When it was decided."""
    first_step: int | None = None
    """Step the attempt began from."""
    last_step: int | None = None
    """Last step it reported."""
    graceful: bool = False
    """True: a checkpoint is asked for, and pods get the grace period."""


class GivenUp(Message):
    """What an execution gave up as it began: newer checkpoints that could not be read back whole."""

    restored_step: int
    """Step of the checkpoint that it went on from; 0: from the beginning."""
    steps: int
    """Optimizer steps between that and the newest one given up, to be done again."""
    checkpoints: list[PassedOverCheckpoint] = Field(default_factory=list, max_length=8)
    """The newest of those given up, newest first."""


class LedgerEntry(Message):
    """One execution: an attempt, or a round inside one."""

    attempt: int
    """Number of the attempt."""
    round: int = 0
    """Number of the round inside the attempt."""
    cause: Cause
    """Why it ended."""
    free: bool
    """True: the restart budget was not charged."""
    culprit: Culprit | None = None
    """The first failure."""
    started_at: str
    """When its pods were asked for."""
    ended_at: str
    """When its end was decided."""
    first_step: int | None = None
    """Step it began from."""
    last_step: int | None = None
    """Last step it reported."""
    given_up: GivenUp | None = None
    """Newer checkpoints that it could not go on from."""
    spec_hash: Name | None = None
    """Hash of the spec that it ran."""
    code_hash: Name | None = None
    """Hash of the Python files of spec.code that it ran; absent where the code is in the image."""
    time: TimeSpent | None = None
    """Seconds from its promise to the next attempt, by kind."""
    seconds_lost: float | None = None
    """From the detection of its end to the first new step of the next execution."""


class World(Message):
    """What checkpoints of this job are taken with; a later attempt has to keep it once there may be one."""

    nodes: int
    """Pods of the newest attempt."""
    processes_per_node: int
    """Ranks in each of them."""
    checkpoint_uri: Text
    """Where it commits checkpoints."""
    fixed: bool = False
    """True: all of its containers have started, so there may be a checkpoint."""


class RestartCounts(Message):
    """Restarts so far."""

    charged: int = 0
    """Those that count against spec.restarts.maxRestarts."""
    free: int = 0
    """Those that do not."""
    total: int = 0
    """All of them."""


class Progress(Message):
    """How far training is, as pulled from node 0's agent."""

    epoch: int = 0
    """Epoch, counted from 0."""
    step: int = 0
    """Optimizer steps done."""
    max_steps: int | None = None
    """Optimizer steps to do, where that is known."""
    percent: int | None = None
    """Share of the work that is done."""
    step_seconds: float | None = None
    """Seconds per optimizer step, lately."""
    metrics: dict[Name, MetricValue] = Field(default_factory=dict, max_length=METRICS_MAX)
    """Newest values of what the module logs, at most 32: what callbacks watch and losses come first."""
    non_finite_step: int | None = None
    """First step whose loss, or after which a parameter, was no finite number; the newest checkpoint before is kept."""
    metrics_left_out: int = 0
    """How many more the module logs."""
    skipped_checkpoints: SkippedCheckpoints | None = None
    """Checkpoints that the store did not take, in this attempt; absent where there is none."""
    updated_at: str
    """When it was pulled."""

    @computed_field(description="The percentage as the column Progress shows it.")  # type: ignore[prop-decorator]  # pydantic's own pattern: mypy has no decorated properties
    @property
    def summary(self) -> str | None:
        """The percentage as the column Progress shows it."""
        return None if self.percent is None else f"{self.percent}%"


class Goodput(Message):
    """What became of the time since the first attempt began, and the share of it that was not lost."""

    training_seconds: float = 0.0
    """Seconds spent in steps that counted."""
    wall_seconds: float = 0.0
    """Seconds in which the job was wanted to run: all but suspended and queued."""
    ratio_percent: int = 0
    """Percent of them not lost to steps done again, checkpoint stalls, starting, restoring and recovering."""
    time: TimeSpent | None = None
    """All seconds by kind."""
    ended_time: TimeSpent | None = None
    """The share of it that ended attempts have."""


class Recovery(Message):
    """The newest recovery: what it cost."""

    cause: Cause
    """What it recovered from."""
    detected_at: str
    """When the failure was seen."""
    resumed_at: str | None = None
    """When the first new step had ended."""
    seconds: float | None = None
    """From the one to the other."""
    steps_lost: int | None = None
    """Steps done since the checkpoint it resumed from, to be done again."""


class Nodes(Message):
    """Pods of the running attempt, at last of the one that completed the job."""

    ready: int = 0
    """Pods that train, or have finished."""
    total: int = 0
    """Pods there should be."""
    summary: str = "0/0"
    """Both, as the column Nodes shows them."""


class TrainingJobStatus(Message):
    """What the operator knows about the job."""

    observed_generation: int = 0
    """Generation of the spec that this status is about."""
    phase: Phase = Phase.PENDING
    """Summary of the conditions for people; not a contract."""
    reason: Name | None = None
    """Why the phase is what it is, in a word: of Failed, Blocked, Restarting, or what is awaited while it starts."""
    conditions: list[Condition] = Field(default_factory=list, max_length=16)
    """Complete and Failed are final; Suspended, Running, Restarting, Blocked and CodeChanged come and go."""
    attempt: int = 0
    """Number of the newest attempt; every attempt has one, whatever caused it."""
    attempt_started_at: str | None = None
    """When its pods were asked for."""
    pods_created_at: str | None = None
    """When all of its pods were seen: one that is missing later was deleted."""
    active_seconds: float = 0.0
    """Active time of ended attempts; the running one adds its own."""
    ledger: list[LedgerEntry] = Field(default_factory=list, max_length=LEDGER_MAX)
    """Every execution that has ended, newest last; the oldest are dropped."""
    ending: Ending | None = None
    """The intent to end the running attempt, written before any of its pods is touched."""
    restarts: RestartCounts = Field(default_factory=RestartCounts)
    """Restarts so far."""
    progress: Progress | None = None
    """How far training is."""
    checkpoint: CommittedCheckpoint | None = None
    """The newest committed checkpoint."""
    goodput: Goodput | None = None
    """What became of the time since the first attempt began, and the share of it that was not lost."""
    last_recovery: Recovery | None = None
    """The newest recovery: what it cost."""
    nodes: Nodes = Field(default_factory=Nodes)
    """Pods of the running attempt."""
    spec_hash: Name | None = None
    """Hash of what the user wrote, as the running attempt has it."""
    code_hash: Name | None = None
    """Hash of the Python files of spec.code, as the running attempt has them."""
    changes: list[Text] = Field(default_factory=list, max_length=CHANGES_MAX)
    """What of the spec the running attempt has that the one before had not: path, old and new value."""
    resume_notes: list[Text] = Field(default_factory=list, max_length=RESUME_NOTES_MAX)
    """What the running attempt made of edits as it resumed: settings kept or taken, an epoch that was cut."""
    restart: Name | None = None
    """Value of the annotation thunderhead.dev/restart that the running attempt was begun with."""
    given_up: GivenUp | None = None
    """Newer checkpoints that the running attempt could not go on from."""
    world: World | None = None
    """What checkpoints of this job are taken with."""
    started_at: str | None = None
    """When the first pod was asked for."""
    finished_at: str | None = None
    """When the job came to its end."""
