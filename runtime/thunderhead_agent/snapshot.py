"""One consistent picture of this pod, replaced as a whole ten times a second; every answer is made from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from thunderhead.job.board import Phase
from thunderhead_agent.reading import Reading, phase_name
from thunderhead_api.messages import FrozenJob, MetricValue, RankStatus, StatusReply, StrangerReply, TimeSpent, spelled
from thunderhead_api.treaty import STATUS_MAX_METRICS, STATUS_MAX_RANKS

METRIC_NAME_LIMIT = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that is told about this pod.

    Attributes:
        readings: this node's workers, by rank.
        others: what other nodes reported of their ranks, each with its age in seconds (node 0 only).
        missing_nodes: nodes that have not come to the rendezvous (node 0 only, before the start).
        started: workers run, or have run.
        taken_at: Unix time in seconds; ``uptime_s`` since the agent started.
        spent: the uptime by kind.
    """

    job: FrozenJob
    node_rank: int
    round: int = 0
    readings: Sequence[Reading] = ()
    others: Sequence[tuple[float, Sequence[RankStatus]]] = ()
    missing_nodes: Sequence[int] = ()
    started: bool = False
    stopping: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    taken_at: float = 0.0
    uptime_s: float = 0.0
    spent: TimeSpent | None = None

    @property
    def lead(self) -> Reading | None:
        """The worker that speaks for the node: its lowest rank, which on node 0 is rank 0."""
        return self.readings[0] if self.readings else None

    @property
    def ranks(self) -> list[RankStatus]:
        """Every known rank, ordered; beyond the bound, those silent for longest."""
        own = [reading.status(self.node_rank) for reading in self.readings] if self.started else []
        others = [
            rank.model_copy(update={"age_seconds": round(rank.age_seconds + age_s, 3)})
            for age_s, ranks in self.others
            for rank in ranks
        ]
        known = sorted([*own, *others], key=lambda r: r.rank)
        if len(known) <= STATUS_MAX_RANKS:
            return known
        silent = sorted(known, key=lambda r: -r.age_seconds)[:STATUS_MAX_RANKS]
        return sorted(silent, key=lambda r: r.rank)

    @property
    def ranks_met(self) -> int:
        """Ranks past their process group's rendezvous, of those this agent hears of."""
        before = (phase_name(Phase.STARTING), phase_name(Phase.RENDEZVOUS))
        own = sum(phase_name(reading.phase) not in before for reading in self.readings) if self.started else 0
        return own + sum(rank.phase not in before for _, ranks in self.others for rank in ranks)

    @property
    def non_finite_step(self) -> int | None:
        """The earliest that any known rank has found: the ranks have different batches, so each has its own losses."""
        own = [reading.non_finite_step for reading in self.readings]
        others = [rank.non_finite_step for _, ranks in self.others for rank in ranks]
        return min((step for step in (*own, *others) if step is not None), default=None)

    @property
    def phase(self) -> str:
        """What the job does, as the lead sees it."""
        if self.lead is None or not self.started:
            return phase_name(Phase.STARTING)
        return phase_name(self.lead.phase)


def stranger_reply(snapshot: Snapshot) -> StrangerReply:
    """The answer to ``GET /status`` of who does not name the job."""
    told = status_reply(snapshot)
    return StrangerReply(
        phase=told.phase,
        world_size=told.world_size,
        ranks_met=told.ranks_met,
        step=told.step,
        max_steps=told.max_steps,
        percent=told.percent,
    )


def status_reply(snapshot: Snapshot) -> StatusReply:
    """The answer to ``GET /status`` of who names the job's uid and attempt."""
    lead, job = snapshot.lead, snapshot.job
    reply = StatusReply(
        uid=job.uid,
        attempt=job.attempt,
        round=snapshot.round,
        node_rank=snapshot.node_rank,
        phase="Stopping" if snapshot.stopping else snapshot.phase,
        world_size=job.world_size,
        ranks_met=snapshot.ranks_met,
        missing_nodes=list(snapshot.missing_nodes[:STATUS_MAX_RANKS]),
        metrics=bounded_metrics(snapshot.metrics, STATUS_MAX_METRICS),
        spent=snapshot.spent,
        ranks=snapshot.ranks,
    )
    if lead is None:
        return reply
    return reply.model_copy(
        update={
            "epoch": lead.epoch,
            "step": lead.step,
            "first_step": lead.first_step if lead.first_step >= 0 else None,
            "max_steps": lead.max_steps if lead.max_steps >= 0 else None,
            "percent": percent(lead.step, lead.max_steps),
            "step_seconds": lead.step_s or None,
            "training_seconds": round(lead.training_s, 3),
            "first_step_at": rfc3339(lead.first_step_at) if lead.first_step_at is not None else None,
            "checkpoint": lead.commit,
            "metrics_left_out": lead.left_out + len(snapshot.metrics) - len(reply.metrics),
            "non_finite_step": snapshot.non_finite_step,
            "skipped_checkpoints": lead.skipped,
            "resume_notes": lead.resumed,
            "passed_over": lead.passed_over,
        }
    )


def bounded_metrics(metrics: Mapping[str, float], limit: int) -> dict[str, MetricValue]:
    """At most ``limit`` metrics, in their order, which is the trainer's choice; what JSON cannot say is spelled out."""
    told: dict[str, MetricValue] = {}
    for name, value in metrics.items():
        if len(told) < limit:
            told.setdefault(name[:METRIC_NAME_LIMIT], spelled(float(value)))
    return told


def percent(step: int, max_steps: int) -> int | None:
    """Whole percent of the run, 100 only at its end; ``None`` if its length is unknown."""
    return min(100, 100 * step // max_steps) if max_steps > 0 else None


def rfc3339(unix_s: float) -> str:
    """A moment with milliseconds, as RFC 3339 in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
