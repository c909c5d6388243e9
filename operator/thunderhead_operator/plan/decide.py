"""The decision: one pure function over the stages of a job's life, one rule per module beside it.

``status`` is the machine's memory and is written first; children are touched only by a pass that finds in status what
it is about to do. So a crash at any point leaves a promise that the next pass keeps.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from thunderhead_api.status import TrainingJobStatus
from thunderhead_operator.plan.actions import Action, Decision, DeleteChild, WriteStatus
from thunderhead_operator.plan.active import active, idle
from thunderhead_operator.plan.answers import with_last_word, with_progress, with_recovery
from thunderhead_operator.plan.blocked import block_wakes
from thunderhead_operator.plan.code import code_sources, code_to_compare
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.context import Context, Job, Stage
from thunderhead_operator.plan.ending import go_on_ending
from thunderhead_operator.plan.farewell import asks_for_namespace, farewell
from thunderhead_operator.plan.finished import finished
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.ledger import with_spec_of_last
from thunderhead_operator.plan.notices import notices
from thunderhead_operator.plan.objects import Obj, section
from thunderhead_operator.plan.observed import Observed
from thunderhead_operator.plan.patch import merge_patch
from thunderhead_operator.plan.reads import Reads
from thunderhead_operator.plan.ruling import Ruling
from thunderhead_operator.plan.span import span_of
from thunderhead_operator.plan.spec_change import spec_to_read
from thunderhead_operator.plan.surface import assumed_running_at, surfaced
from thunderhead_operator.plan.world import with_world

_ACTIVE: Final = (Stage.CREATING, Stage.RUNNING)
_SOFT: Final = ("reason", "nodes", "progress", "checkpoint", "goodput", "world")
_DEFAULTS: Final = Config()


def decide(job: Obj, observed: Observed, now: datetime, config: Config = _DEFAULTS) -> Decision:
    """What to do about ``job`` (its JSON, read live) given its children and the time.

    Either one status write with its events, or actions on children, never both.

    Raises:
        ValueError: if the status is not one that this version of the operator understands.
    """
    parsed = Job.parse(job)
    if not parsed.is_ours:
        return Decision(farewell(parsed.name, parsed.uid, observed.of(Kind.POD), config) if parsed.is_going else ())
    ctx = Context(parsed, observed, now, config)
    ctx = _enriched(ctx)
    ruling = _ruling(ctx)
    wanted = ruling.status if parsed.stage is Stage.FINISHED else _with_end(ctx, ruling)
    return _decision(parsed, wanted, ruling, ctx)


def wanted_reads(job: Obj, observed: Observed, now: datetime, config: Config = _DEFAULTS) -> Reads:
    """ConfigMaps whose content this pass needs, by name: lists of children may come without."""
    parsed = Job.parse(job)
    if not parsed.is_ours:
        return Reads()
    ctx = Context(parsed, observed, now, config)
    return Reads(code_sources(ctx), spec_to_read(ctx), code_to_compare(ctx), asks_for_namespace(ctx))


def _ruling(ctx: Context) -> Ruling:
    status = ctx.status
    match ctx.job.stage:
        case Stage.IDLE:
            return idle(ctx)
        case Stage.CREATING | Stage.RUNNING:
            return active(ctx)
        case Stage.ENDING:
            assert status.ending is not None
            return go_on_ending(ctx, status.ending)
        case Stage.FINISHED:
            return finished(ctx)


def _enriched(ctx: Context) -> Context:
    """The context with what the agents say already in its status, so that rules and the write see the same."""
    match ctx.job.stage:
        case Stage.CREATING | Stage.RUNNING:
            status = with_recovery(ctx, with_world(ctx, with_progress(ctx, ctx.status)))
        case Stage.IDLE | Stage.ENDING:
            status = with_spec_of_last(with_world(ctx, ctx.status))
        case Stage.FINISHED:
            return ctx
    return replace(ctx, job=replace(ctx.job, status=status))


def _with_end(ctx: Context, ruling: Ruling) -> TrainingJobStatus:
    status = surfaced(ctx, ruling)
    if len(status.ledger) == len(ctx.status.ledger) and status.ledger[-1:] == ctx.status.ledger[-1:]:
        return status
    return with_last_word(status, span_of(ctx), ctx.now, done=ruling.complete)


def _decision(job: Job, wanted: TrainingJobStatus, ruling: Ruling, ctx: Context) -> Decision:
    """Write first. A change that only people read waits until the last write is a while ago, and rides along with any
    other before that."""
    # The first write says every field, zeros too: who reads a counter should not have to know that absent means none.
    before = _dump(job.status) if section(job.raw, "status") else {}
    patch = merge_patch(before, _dump(wanted))
    wait = ctx.config.write_period_s - ctx.observed.quiet_s
    hard = bool(patch) and _hard(job.status) != _hard(wanted)
    if patch and (hard or wait <= 0):
        write = WriteStatus(patch, job.resource_version)
        again = 0.0 if hard or ruling.actions else None
        return Decision((write, *notices(job.status, wanted)), _seconds_to_wake(ctx, ruling, again))
    return Decision(_dedup(ruling.actions), _seconds_to_wake(ctx, ruling, wait if patch else None))


def _seconds_to_wake(ctx: Context, ruling: Ruling, other: float | None) -> float | None:
    moments = list(ruling.wake)
    if ctx.job.stage in _ACTIVE:
        moments += block_wakes(ctx)
        sure_at = assumed_running_at(ctx)
        moments += [sure_at] if sure_at and sure_at > ctx.now else []
    waits = [max(0.0, (moment - ctx.now).total_seconds()) for moment in moments]
    return min([*waits, *([other] if other is not None else [])], default=None)


def _dump(status: TrainingJobStatus) -> dict[str, Any]:
    return status.model_dump(mode="json", exclude_none=True)


def _hard(status: TrainingJobStatus) -> dict[str, Any]:
    """What other rules read or people wait for; reasons and messages of conditions may change with every look."""
    dump = {key: value for key, value in _dump(status).items() if key not in _SOFT}
    dump["conditions"] = {c.type: c.status for c in status.conditions}
    return dump


def _dedup(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Two rules may want the same deletion; everything else is wanted once."""
    deletes = dict.fromkeys(action for action in actions if isinstance(action, DeleteChild))
    return (*(action for action in actions if not isinstance(action, DeleteChild)), *deletes)
