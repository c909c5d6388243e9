"""What people read: conditions, phase and columns, derived anew in every pass from the state and what was seen."""

from __future__ import annotations

from datetime import datetime, timedelta

from thunderhead_api.conditions import Reason, find_condition, is_true, set_condition
from thunderhead_api.status import Condition, Nodes, TrainingJobStatus
from thunderhead_api.treaty import Annotation, Cause, ConditionType, Phase
from thunderhead_operator.plan.blocked import Block, block_of
from thunderhead_operator.plan.clock import stamp
from thunderhead_operator.plan.context import Context, Stage, nodes_of
from thunderhead_operator.plan.given_up import sentence
from thunderhead_operator.plan.pods import PodView
from thunderhead_operator.plan.ruling import Ruling
from thunderhead_operator.plan.verdict import is_done
from thunderhead_operator.plan.waiting import waiting_for

Verdicts = list[tuple[ConditionType, bool, str, str]]


def surfaced(ctx: Context, ruling: Ruling) -> TrainingJobStatus:
    """The whole status that this pass wants to see written."""
    status = ruling.status
    over = ruling.complete or ruling.failure is not None
    alive = ctx.job.stage in (Stage.CREATING, Stage.RUNNING)  # the last answer of an agent outlives its attempt
    running = alive and not over and _same_attempt(ctx, status) and is_running(ctx)
    block = None if over or not _same_attempt(ctx, status) or ruling.suspended else block_of(ctx)
    block = ruling.hold or block
    wanted = [*_outcome(ruling), *_suspended(ctx, ruling), *_running(ctx, ruling, running)]
    wanted += [*_restarting(ctx, ruling, running), *_blocked(ctx, block), *_code_changed(ctx)]
    conditions: list[Condition] = list(status.conditions)
    for type_, value, reason, message in wanted:
        conditions = set_condition(
            conditions,
            type_,
            value,
            reason=reason,
            message=message,
            generation=ctx.job.generation,
            now=stamp(ctx.now),
        )
    phase = _phase(conditions, status, ctx.status.phase)
    return status.model_copy(
        update={
            "observed_generation": ctx.job.generation,
            "conditions": conditions,
            "phase": phase,
            "reason": _reason(conditions, status, phase),
            "nodes": _nodes(ctx, ruling, running),
            "finished_at": stamp(ctx.now) if over else status.finished_at,
        }
    )


def is_running(ctx: Context) -> bool:
    """All ranks of the attempt have met. Once seen it stays so until the attempt ends: silence takes nothing back.

    Where no agent could be asked (a policy between us and the pods), containers that have run for a while count.
    """
    if is_true(ctx.status.conditions, ConditionType.RUNNING):
        return True
    reply = ctx.reply
    if reply is not None:
        return 0 < reply.world_size <= reply.ranks_met
    sure_at = assumed_running_at(ctx)
    return sure_at is not None and ctx.now >= sure_at


def assumed_running_at(ctx: Context) -> datetime | None:
    """When the attempt will count as running without a word from its agents; None while a container does not run."""
    starts = [pod.running_since for pod in ctx.current.values()]
    if ctx.missing or not starts or ctx.reply is not None:
        return None
    known = [start for start in starts if start is not None]
    return max(known) + timedelta(seconds=ctx.config.assume_running_s) if len(known) == len(starts) else None


def _same_attempt(ctx: Context, status: TrainingJobStatus) -> bool:
    return status.attempt == ctx.status.attempt and status.ending is None and status.attempt > 0


def _outcome(ruling: Ruling) -> Verdicts:
    if ruling.complete:
        return [(ConditionType.COMPLETE, True, Reason.COMPLETED, ruling.message)]
    if ruling.failure is not None:
        return [(ConditionType.FAILED, True, ruling.failure, ruling.message)]
    return []


def _suspended(ctx: Context, ruling: Ruling) -> Verdicts:
    if ruling.suspended:
        return [(ConditionType.SUSPENDED, True, Reason.SUSPENDED, "spec.suspend is true; no pods run")]
    ending = ruling.status.ending
    if ending is not None and ending.cause is Cause.SUSPENDED:
        said = "pods are being stopped, after a checkpoint where they can take one"
        return [(ConditionType.SUSPENDED, False, Reason.SUSPEND_REQUESTED, said)]
    if find_condition(ctx.status.conditions, ConditionType.SUSPENDED):
        return [(ConditionType.SUSPENDED, False, Reason.NOT_SUSPENDED, "")]
    return []


def _running(ctx: Context, ruling: Ruling, running: bool) -> Verdicts:
    status = ruling.status
    if running:
        said = f"all ranks of attempt {status.attempt} have met"
        said += f"; it {sentence(status.given_up)}" if status.given_up else ""
        return [(ConditionType.RUNNING, True, Reason.TRAINING, said)]
    if ruling.complete or ruling.failure is not None:
        return [(ConditionType.RUNNING, False, Reason.FINISHED, "")]
    if ruling.suspended:
        return [(ConditionType.RUNNING, False, Reason.SUSPENDED, "")]
    if status.ending is not None:
        said = f"attempt {status.attempt} ends: {status.ending.cause}"
        return [(ConditionType.RUNNING, False, Reason.ENDING, said)]
    if not _same_attempt(ctx, status):
        return [(ConditionType.RUNNING, False, Reason.WAITING_FOR_PODS, f"{nodes_of(status)} pods are to be made")]
    return [(ConditionType.RUNNING, False, *waiting_for(ctx))]


def _restarting(ctx: Context, ruling: Ruling, running: bool) -> Verdicts:
    ending, was = ruling.status.ending, is_true(ctx.status.conditions, ConditionType.RESTARTING)
    if ending is not None and not ending.final and ending.cause is not Cause.SUSPENDED:
        said = f"attempt {ruling.status.attempt} ends, another follows"
        if ending.cause is Cause.SPEC_CHANGED and ending.culprit and ending.culprit.message:
            said += f": {ending.culprit.message}"
        return [(ConditionType.RESTARTING, True, ending.cause.value, said)]
    known = find_condition(ctx.status.conditions, ConditionType.RESTARTING)
    if known is None:
        return []
    if was and running:
        return [(ConditionType.RESTARTING, False, Reason.RECOVERED, f"attempt {ruling.status.attempt} runs")]
    if ruling.complete or ruling.failure is not None or ruling.suspended or (ending is not None):
        return [(ConditionType.RESTARTING, False, Reason.NOT_RESTARTING, "")]
    return [(ConditionType.RESTARTING, was, known.reason, known.message)]


def _blocked(ctx: Context, block: Block | None) -> Verdicts:
    if block is not None:
        return [(ConditionType.BLOCKED, True, block.reason, block.message)]
    if find_condition(ctx.status.conditions, ConditionType.BLOCKED):
        return [(ConditionType.BLOCKED, False, Reason.NOT_BLOCKED, "")]
    return []


def _code_changed(ctx: Context) -> Verdicts:
    """Whether the user's ConfigMap is still what the job runs; without a look at it, as it was."""
    sight, known = ctx.observed.code_sight, find_condition(ctx.status.conditions, ConditionType.CODE_CHANGED)
    if sight is None:
        return []
    if not sight.deleted and not sight.changed:
        same = "the ConfigMap holds what the job runs"
        return [(ConditionType.CODE_CHANGED, False, Reason.SAME_CODE, same)] if known else []
    assert ctx.job.spec is not None
    assert ctx.job.spec.code is not None
    assert ctx.job.spec.code.config_map is not None
    name, ours = ctx.job.spec.code.config_map.name, f"code {ctx.status.code_hash}"
    if sight.deleted:
        gone = f'ConfigMap "{name}" (spec.code.configMap) is gone; the job goes on with its own copy of it ({ours})'
        return [(ConditionType.CODE_CHANGED, True, Reason.CODE_DELETED, gone)]
    files = ", ".join(sight.changed[:8]) + (f" and {len(sight.changed) - 8} more" if len(sight.changed) > 8 else "")
    edited = (
        f'ConfigMap "{name}" (spec.code.configMap) was edited ({files}); the job goes on with the files it began with '
        f"({ours}), after a failure too. To take the new ones from the newest checkpoint on: kubectl -n "
        f"{ctx.job.namespace} annotate trainingjob {ctx.job.name} --overwrite {Annotation.RESTART}=$(date +%s)"
    )
    return [(ConditionType.CODE_CHANGED, True, Reason.CODE_EDITED, edited)]


def _nodes(ctx: Context, ruling: Ruling, running: bool) -> Nodes:
    """Pods that train, and those that have done all they had to. Ranks may have met before a probe has asked."""
    total, same = nodes_of(ruling.status), ruling.status.attempt == ctx.status.attempt
    alive = same and ruling.failure is None

    def counts(pod: PodView) -> bool:
        trains = pod.ready or (running and pod.running_since is not None)
        return is_done(pod) or (trains and not pod.stopped)

    ready = sum(counts(pod) for pod in ctx.current.values()) if alive else 0
    ready = total if ruling.complete else ready
    return Nodes(ready=ready, total=total, summary=f"{ready}/{total}")


def _reason(conditions: list[Condition], status: TrainingJobStatus, phase: Phase) -> str | None:
    """Why the phase is what it is, in a word; nothing where the phase says all."""
    if phase in (Phase.COMPLETE, Phase.SUSPENDED):
        return None
    for type_ in (ConditionType.FAILED, ConditionType.BLOCKED, ConditionType.RESTARTING):
        condition = find_condition(conditions, type_)
        if condition is not None and is_true(conditions, type_):
            return condition.reason
    if status.ending is not None:
        return status.ending.cause.value
    waits = find_condition(conditions, ConditionType.RUNNING)
    return waits.reason if waits is not None and phase in (Phase.PENDING, Phase.STARTING) else None


def _phase(conditions: list[Condition], status: TrainingJobStatus, before: Phase) -> Phase:
    for type_, phase in (
        (ConditionType.COMPLETE, Phase.COMPLETE),
        (ConditionType.FAILED, Phase.FAILED),
        (ConditionType.SUSPENDED, Phase.SUSPENDED),
        (ConditionType.RUNNING, Phase.RUNNING),  # before Blocked: what is refused is the attempt after this one
        (ConditionType.BLOCKED, Phase.BLOCKED),
        (ConditionType.RESTARTING, Phase.RESTARTING),
    ):
        if is_true(conditions, type_):
            return phase
    if status.ending is not None:
        return before
    return Phase.PENDING if status.pods_created_at is None else Phase.STARTING
