"""A finished job: nothing of it runs on, nothing revives it, and after its time to live it goes."""

from __future__ import annotations

from datetime import timedelta

from thunderhead_operator.plan.actions import DeleteJob
from thunderhead_operator.plan.clock import parse_time
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.ending import stop_pod, wake_times
from thunderhead_operator.plan.ruling import Ruling


def finished(ctx: Context) -> Ruling:
    """Stop what still runs (a sidecar outlives its trainer); pods that have stopped stay for their logs."""
    spec, ended = ctx.job.spec, ctx.status.finished_at
    gone_at = None
    if spec and spec.ttl_seconds_after_finished is not None and ended:
        gone_at = parse_time(ended) + timedelta(seconds=spec.ttl_seconds_after_finished)
        if ctx.now >= gone_at:
            return Ruling(ctx.status, (DeleteJob(ctx.job.uid),))
    live = [pod for pod in ctx.pods if not pod.stopped]
    stops = tuple(a for pod in live if (a := stop_pod(ctx, pod, ctx.config.survivor_grace_s)))
    return Ruling(ctx.status, stops, (*wake_times(ctx, live), *((gone_at,) if gone_at else ())))
