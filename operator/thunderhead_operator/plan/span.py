"""How far an attempt came: from its pods' records, its agent's answers, and what status says already."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from thunderhead_api.messages import CommittedCheckpoint, MetricValue, StatusReply, TerminationRecord
from thunderhead_api.time_spent import seconds_of
from thunderhead_operator.plan.clock import parse_time, parse_untrusted
from thunderhead_operator.plan.context import Context


@dataclass(frozen=True)
class Span:
    """Steps and seconds of one attempt; None where nobody could say."""

    first_step: int | None = None
    last_step: int | None = None
    first_step_at: datetime | None = None
    training_seconds: float = 0.0
    checkpoint: CommittedCheckpoint | None = None
    metrics: dict[str, MetricValue] | None = None
    non_finite_step: int | None = None


def span_of(ctx: Context) -> Span:
    """What is known now about the running attempt: records know more than answers, answers more than status."""
    records = records_of(ctx)
    reply = ctx.reply
    known: list[TerminationRecord | StatusReply] = [*records, *([reply] if reply else [])]
    firsts = [k.first_step for k in known if k.first_step is not None]
    moments = [m for k in known if (m := parse_untrusted(k.first_step_at))]
    lasts = [r.last_step for r in records if r.last_step is not None]
    lasts += [reply.step] if reply and reply.first_step is not None else []
    lasts += [] if lasts else _from_status(ctx)
    return Span(
        first_step=min(firsts, default=None),
        last_step=max(lasts, default=None),
        first_step_at=min(moments, default=None),
        training_seconds=max((k.training_seconds for k in known), default=_seconds_from_status(ctx)),
        checkpoint=_newest([k.checkpoint for k in known if k.checkpoint]) or ctx.status.checkpoint,
        non_finite_step=min((k.non_finite_step for k in known if k.non_finite_step is not None), default=None),
        metrics=next((r.metrics for r in records if r.metrics), reply.metrics if reply else None),
    )


def records_of(ctx: Context) -> list[TerminationRecord]:
    """Records of the attempt's pods, also of those that are gone, by node rank."""
    pods = {**ctx.ghosts, **ctx.current}
    return [pod.record for _, pod in sorted(pods.items()) if pod.record]


def _newest(checkpoints: list[CommittedCheckpoint]) -> CommittedCheckpoint | None:
    return max(checkpoints, key=lambda c: c.step, default=None)


def _is_of_this_attempt(ctx: Context) -> bool:
    progress, started = ctx.status.progress, ctx.status.attempt_started_at
    return progress is not None and started is not None and parse_time(progress.updated_at) >= parse_time(started)


def _from_status(ctx: Context) -> list[int]:
    return [ctx.status.progress.step] if ctx.status.progress and _is_of_this_attempt(ctx) else []


def _seconds_from_status(ctx: Context) -> float:
    goodput = ctx.status.goodput
    if goodput is None or not _is_of_this_attempt(ctx):
        return 0.0
    return seconds_of(goodput.time, "counted") - seconds_of(goodput.ended_time, "counted")
