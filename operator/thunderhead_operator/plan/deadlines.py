"""The two deadlines of a job: until all ranks have met, and of its active time."""

from __future__ import annotations

from datetime import datetime, timedelta

from thunderhead_api.conditions import is_true
from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Cause, ConditionType
from thunderhead_operator.plan.clock import parse_time
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.verdict import Verdict


def active_deadline(ctx: Context) -> datetime | None:
    """When the running attempt uses up what is left of ``activeDeadlineSeconds``. Suspended time does not count: only
    attempts do."""
    spec, started = ctx.job.spec, ctx.status.attempt_started_at
    if spec is None or spec.active_deadline_seconds is None or started is None:
        return None
    return parse_time(started) + timedelta(seconds=spec.active_deadline_seconds - ctx.status.active_seconds)


def startup_deadline(ctx: Context) -> datetime | None:
    """When all ranks of the attempt must have met; None once they have."""
    spec, started = ctx.job.spec, ctx.status.attempt_started_at
    if spec is None or started is None or is_true(ctx.status.conditions, ConditionType.RUNNING):
        return None
    return parse_time(started) + timedelta(seconds=spec.startup_deadline_seconds)


def missed_deadline(ctx: Context) -> Verdict | None:
    """The deadline that has passed, if any."""
    active, startup = active_deadline(ctx), startup_deadline(ctx)
    if active is not None and ctx.now >= active:
        assert ctx.job.spec is not None
        said = f"activeDeadlineSeconds of {ctx.job.spec.active_deadline_seconds} s are used up"
        return Verdict(Cause.ACTIVE_DEADLINE, Culprit(message=said), intact=not ctx.missing)
    if startup is not None and ctx.now >= startup:
        return Verdict(Cause.STARTUP_DEADLINE, Culprit(message=_who_is_missing(ctx)))
    return None


def _who_is_missing(ctx: Context) -> str:
    """Which node ranks have not come: by the agents if one answered, else by their pods."""
    assert ctx.job.spec is not None
    limit = f"not all ranks met within startupDeadlineSeconds of {ctx.job.spec.startup_deadline_seconds} s"
    reply = ctx.reply
    if reply and reply.missing_nodes:
        return f"{limit}: missing node ranks {_some(reply.missing_nodes)}"
    absent = [r for r in range(ctx.num_nodes) if r not in ctx.current or ctx.current[r].running_since is None]
    if not absent:
        met = f" ({reply.ranks_met} of {reply.world_size} ranks met)" if reply else ""
        return f"{limit}: all containers run{met}"
    why = next((p.unplaced.message for r in absent if (p := ctx.current.get(r)) and p.unplaced), None)
    return f"{limit}: no running container for node ranks {_some(absent)}" + (f": {why}" if why else "")


def _some(ranks: list[int], limit: int = 16) -> str:
    shown = ", ".join(str(rank) for rank in ranks[:limit])
    return shown if len(ranks) <= limit else f"{shown} and {len(ranks) - limit} more"
