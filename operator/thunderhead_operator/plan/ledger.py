"""The ledger: closing the entry of an ended attempt, and promising the next attempt."""

from __future__ import annotations

from typing import Any

from thunderhead_api.conditions import is_true
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.status import (
    LEDGER_MAX,
    Ending,
    Goodput,
    LedgerEntry,
    Nodes,
    Recovery,
    RestartCounts,
    TrainingJobStatus,
    World,
)
from thunderhead_api.treaty import Cause, ConditionType
from thunderhead_operator.plan.clock import seconds_since, stamp
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.given_up import given_up_of
from thunderhead_operator.plan.restart import restart_value
from thunderhead_operator.plan.span import span_of
from thunderhead_operator.plan.spec_change import spec_changes
from thunderhead_operator.plan.spending import closed_goodput, idle_goodput
from thunderhead_operator.plan.world import world_of


def close_attempt(ctx: Context, ending: Ending) -> TrainingJobStatus:
    """The status once the attempt is over: entry written, counters raised, nothing promised yet."""
    span, status = span_of(ctx), ctx.status
    goodput, time = closed_goodput(ctx, ending)
    entry = LedgerEntry(
        attempt=status.attempt,
        cause=ending.cause,
        free=ending.free,
        culprit=ending.culprit,
        started_at=status.attempt_started_at or ending.at,
        ended_at=stamp(ctx.now),
        first_step=_either(span.first_step, ending.first_step, min),
        last_step=_either(span.last_step, ending.last_step, max),
        given_up=given_up_of(ctx),
        spec_hash=status.spec_hash,
        code_hash=status.code_hash,
        time=time,
    )
    return status.model_copy(
        update={
            "ledger": [*status.ledger, entry][-LEDGER_MAX:],
            "ending": None,
            "active_seconds": round(status.active_seconds + seconds_since(status.attempt_started_at, ctx.now), 1),
            "restarts": _restarts(status.restarts, ending),
            "checkpoint": span.checkpoint,
            "goodput": goodput,
            "last_recovery": _recovery(ctx, ending),
        }
    )


def with_spec_of_last(status: TrainingJobStatus) -> TrainingJobStatus:
    """``status``, while no attempt runs, with the spec of its last execution, of which an older operator said nothing
    in the entry. What the user has changed by then is of no matter: status has what that attempt was promised with."""
    last = status.ledger[-1] if status.ledger else None
    if last is None or last.spec_hash is not None or last.attempt != status.attempt or status.spec_hash is None:
        return status
    known = last.model_copy(update={"spec_hash": status.spec_hash})
    return status.model_copy(update={"ledger": [*status.ledger[:-1], known]})


def next_attempt(ctx: Context, status: TrainingJobStatus) -> TrainingJobStatus:
    """Promise an attempt: a number never used before, bound to the spec as it is now. Its pods come in a later pass."""
    assert ctx.job.spec is not None
    nodes = ctx.job.spec.nodes
    return status.model_copy(
        update={
            "attempt": ctx.highest_attempt + 1,
            "attempt_started_at": stamp(ctx.now),
            "pods_created_at": None,
            "spec_hash": ctx.job.spec_hash,
            "code_hash": None,  # known once the attempt's copy is there
            "changes": spec_changes(ctx),
            "restart": restart_value(ctx),
            "resume_notes": [],
            "given_up": None,
            "goodput": _since_the_last(ctx, status),
            "started_at": status.started_at or stamp(ctx.now),
            "nodes": Nodes(ready=0, total=nodes, summary=f"0/{nodes}"),
            "world": _world(ctx.job.spec, status.world),
        }
    )


def _since_the_last(ctx: Context, status: TrainingJobStatus) -> Goodput | None:
    """Without an attempt time went by as well."""
    if ctx.job.stage is not Stage.IDLE:
        return status.goodput
    return idle_goodput(ctx, suspended=is_true(status.conditions, ConditionType.SUSPENDED))


def released(status: TrainingJobStatus) -> TrainingJobStatus:
    """No attempt is promised: the clocks of the last one stand still, and its number stays used."""
    return status.model_copy(update={"attempt_started_at": None, "pods_created_at": None})


def _world(spec: TrainingJobSpec, before: World | None) -> World:
    """What has been saved stays true of the next attempt, which is not promised with another."""
    return world_of(spec).model_copy(update={"fixed": before is not None and before.fixed})


def _either(one: int | None, other: int | None, pick: Any) -> int | None:
    known = [step for step in (one, other) if step is not None]
    return int(pick(known)) if known else None


def _restarts(restarts: RestartCounts, ending: Ending) -> RestartCounts:
    """An end without another attempt is no restart, and neither is a suspension."""
    if ending.final or ending.cause in (Cause.SUSPENDED, Cause.COMPLETED):
        return restarts
    charged, free = restarts.charged + (not ending.free), restarts.free + ending.free
    return RestartCounts(charged=charged, free=free, total=charged + free)


def _recovery(ctx: Context, ending: Ending) -> Recovery | None:
    """A recovery begins with every end that another attempt follows; a suspension is no fault to recover from."""
    if ending.final or ending.cause in (Cause.SUSPENDED, Cause.COMPLETED):
        return ctx.status.last_recovery
    return Recovery(cause=ending.cause, detected_at=ending.at)
