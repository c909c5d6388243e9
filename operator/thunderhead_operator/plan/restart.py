"""A restart on request: the job's annotation ``thunderhead.dev/restart``, of which only matters that it changed."""

from __future__ import annotations

from thunderhead_api.treaty import Annotation
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.objects import section

_VALUE_MAX = 253


def restart_value(ctx: Context) -> str | None:
    """What the annotation says now, as far as status can hold it; None where there is none."""
    value = section(ctx.job.raw, "metadata", "annotations").get(Annotation.RESTART)
    return None if value is None else str(value)[:_VALUE_MAX]


def restart_wanted(ctx: Context) -> bool:
    """Whether it was set, or set anew, since the running attempt was promised; taking it away asks for nothing."""
    value = restart_value(ctx)
    return value is not None and value != ctx.status.restart
