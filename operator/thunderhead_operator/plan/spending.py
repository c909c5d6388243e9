"""Where the time of an attempt went: its agent's account of the execution, and of the rest what the clock says.

::

    promised          placed        agent starts             its last word      closed
       │    queued      │  starting      │  what the agent says    │   recovering    │
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from thunderhead_api.messages import StatusReply, TerminationRecord, TimeSpent
from thunderhead_api.status import Ending, Goodput, TrainingJobStatus
from thunderhead_api.time_spent import added, goodput_ratio, less, seconds_of, time_spent, wanted, within
from thunderhead_api.treaty import Cause, ConditionType
from thunderhead_operator.plan.clock import parse_time, seconds_since
from thunderhead_operator.plan.context import Context

_CENTURY_S: Final = 3e9


def running_goodput(ctx: Context, reply: StatusReply, at: datetime) -> Goodput:
    """With the running attempt as its agent told of it at ``at``."""
    ended = _ended(ctx.status)
    return _goodput(added(ended, _up_to(ctx, reply, at)), ended)


def closed_goodput(ctx: Context, ending: Ending) -> tuple[Goodput, TimeSpent]:
    """With the attempt that ends now, and its own share. What nobody accounts for came after its last word."""
    total = seconds_since(ctx.status.attempt_started_at, ctx.now)
    known = within(_last_word(ctx, ending), total)
    rest = total - seconds_of(known)
    own = added(known, time_spent(**{_rest_is(ending): rest}))
    time = added(_ended(ctx.status), own)
    return _goodput(time, time), own


def idle_goodput(ctx: Context, *, suspended: bool) -> Goodput | None:
    """With the time since the last attempt was closed, at the promise of the next; None before the first."""
    since = _idle_since(ctx.status)
    if since is None or (ctx.status.ledger and ctx.status.goodput is None):
        return ctx.status.goodput
    gap = seconds_since(since, ctx.now)
    time = added(_ended(ctx.status), time_spent(**{"suspended" if suspended else "queued": gap}))
    return _goodput(time, time)


def _idle_since(status: TrainingJobStatus) -> str | None:
    """When the last attempt was closed. Of one that was released because none of its pods was taken no entry tells, but
    that something has been in its way since."""
    if status.ledger and status.ledger[-1].attempt == status.attempt:
        return status.ledger[-1].ended_at
    kinds = (ConditionType.BLOCKED, ConditionType.SUSPENDED)
    known = [c.last_transition_time for c in status.conditions if c.type in kinds and c.status == "True"]
    return max(known, default=None) if status.attempt else None


def _goodput(time: TimeSpent, ended: TimeSpent) -> Goodput:
    return Goodput(
        training_seconds=seconds_of(time, "counted"),
        wall_seconds=round(wanted(time), 1),
        ratio_percent=round(100 * goodput_ratio(time)),
        time=time,
        ended_time=ended,
    )


def _ended(status: TrainingJobStatus) -> TimeSpent:
    goodput = status.goodput
    if goodput is None:
        return TimeSpent()
    # An operator of before kinds of time were told knew but this.
    return goodput.ended_time or time_spent(counted=goodput.training_seconds)


def _up_to(ctx: Context, told: StatusReply | TerminationRecord, at: datetime) -> TimeSpent:
    """From the promise of the attempt to ``at``, when its agent had told this."""
    total = seconds_since(ctx.status.attempt_started_at, at)
    said = within(told.spent or time_spent(counted=told.training_seconds), total)
    queued = min(_queued(ctx, at), total - seconds_of(said))
    return added(said, time_spent(queued=queued, starting=total - seconds_of(said) - queued))


def _last_word(ctx: Context, ending: Ending) -> TimeSpent:
    """What is known of the attempt: by node 0's record, its newest answer, what status has kept of one, or nobody."""
    pod = ctx.current.get(0) or ctx.ghosts.get(0)
    if pod is not None and pod.record is not None and pod.record.spent is not None:
        finished = (pod.terminated.finished_at if pod.terminated else None) or parse_time(ending.at)
        # The node's clock may be another: it ended no earlier than it can have, and by now.
        started = parse_time(ctx.status.attempt_started_at or ending.at)
        earliest = started + timedelta(seconds=min(seconds_of(pod.record.spent), _CENTURY_S))
        return _up_to(ctx, pod.record, min(max(finished, earliest), ctx.now))
    if ctx.reply is not None and ctx.observed.sample is not None:
        return _up_to(ctx, ctx.reply, ctx.observed.sample.at)
    goodput = ctx.status.goodput
    kept = less(goodput.time, goodput.ended_time) if goodput and goodput.time else TimeSpent()
    if seconds_of(kept):
        return kept
    until = parse_time(ending.at)
    queued = _queued(ctx, until)
    return time_spent(queued=queued, starting=seconds_since(ctx.status.attempt_started_at, until) - queued)


def _queued(ctx: Context, until: datetime) -> float:
    """Seconds before the last pod had its place."""
    start = ctx.status.attempt_started_at
    placed = [pod.placed_at for pod in {**ctx.ghosts, **ctx.current}.values()]
    if ctx.status.pods_created_at is None or None in placed:
        return seconds_since(start, until)
    return min(seconds_since(start, until), max((seconds_since(start, at) for at in placed if at), default=0.0))


def _rest_is(ending: Ending) -> str:
    if ending.cause is Cause.SUSPENDED:
        return "suspended"
    return "other" if ending.final else "recovering"
