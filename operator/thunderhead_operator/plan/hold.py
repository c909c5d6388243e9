"""Why no further attempt may begin with the spec as it is. What runs is left alone meanwhile; another change heals."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from thunderhead_api.conditions import Reason, find_condition
from thunderhead_api.status import LedgerEntry
from thunderhead_api.treaty import Annotation, Cause, ConditionType
from thunderhead_operator.plan.actions import CreateChild, Rehearse
from thunderhead_operator.plan.blocked import Block
from thunderhead_operator.plan.clock import seconds_since
from thunderhead_operator.plan.code import running_hash
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.kinds import TRAITS, Kind
from thunderhead_operator.plan.ledger import next_attempt
from thunderhead_operator.plan.observed import Refusal, RefusalKind, Rehearsal
from thunderhead_operator.plan.policy import violations
from thunderhead_operator.plan.render import attempt_children
from thunderhead_operator.plan.render_pod import render_pod
from thunderhead_operator.plan.restart import restart_wanted
from thunderhead_operator.plan.ruling import Ruling
from thunderhead_operator.plan.spec_change import has_changed
from thunderhead_operator.plan.world import other_world

_REMEDY: Final = {
    Cause.INVALID_CONFIGURATION: "correct the code",
    Cause.STORAGE_REFUSED: "correct the access",
    Cause.STARTUP_DEADLINE: "let its pods start",
}
"""Ends that a change of the spec or the code can bring, and what heals them besides another change."""


def hold_of(ctx: Context) -> Block | None:
    """What stands against another attempt with this spec; None if nothing does, as far as is known."""
    block = _invalid(ctx) or denied(ctx) or other_world(ctx) or _tried_in_vain(ctx) or _refused(ctx)
    if block is None or ctx.job.stage is not Stage.RUNNING:
        return block
    return Block(block.reason, f"attempt {ctx.status.attempt} runs on, another would not begin: {block.message}")


def _invalid(ctx: Context) -> Block | None:
    """The block on a spec that breaks a rule which the API server does not know, or did not know then."""
    return Block(ctx.job.refused_as, ctx.job.problem or "") if ctx.job.spec is None else None


def denied(ctx: Context) -> Block | None:
    """The block on a pod template that the site's policy denies."""
    found = violations(ctx.job.spec.pod_template, ctx.config.policy) if ctx.job.spec else []
    return Block(Reason.POLICY_DENIED, "\n".join(map(str, found))) if found else None


def refused_invalid(ctx: Context) -> Block | None:
    """The block on a spec of which the API server has just called a child invalid: trying again is no use before one
    of them changes."""
    made_of_it = (r for r in ctx.observed.refusals if r.why is RefusalKind.INVALID and TRAITS[r.kind].of_spec)
    found = next(made_of_it, None)
    return None if found is None else _refusal(found)


def rehearsal_for(ctx: Context) -> Rehearse | None:
    """The question whether the API server takes the children of the next attempt, where the spec has changed since the
    last one, or the last one had an invalid child. Without an answer no running attempt is ended for the change, and no
    other begins."""
    if not _is_in_doubt(ctx):
        return None
    status = next_attempt(ctx, ctx.status)
    coming = replace(ctx, job=replace(ctx.job, status=status))
    pod = CreateChild(Kind.POD, render_pod(coming, 0))
    return Rehearse(status.spec_hash or "", (*attempt_children(coming), pod))


def is_rehearsed(ctx: Context) -> bool:
    """Whether another attempt with this spec needs no rehearsal, or has had it."""
    return not _is_in_doubt(ctx) or _rehearsal(ctx) is not None


def asking(ctx: Context, ruling: Ruling, question: Rehearse | None) -> Ruling:
    """``ruling``, and the question where its answer matters: asked again now and then while the answer is no."""
    if question is None or denied(ctx) is not None or other_world(ctx) is not None:
        return ruling
    rest_s = ctx.config.rehearse_s - ctx.observed.rehearsed_s if _rehearsal(ctx) else _rest_s(ctx)
    if rest_s > 0:
        return replace(ruling, wake=(*ruling.wake, ctx.now + timedelta(seconds=rest_s)))
    again = ctx.now + timedelta(seconds=ctx.config.rehearse_s)
    return replace(ruling, actions=(*ruling.actions, question), wake=(*ruling.wake, again))


def _rest_s(ctx: Context) -> float:
    """Seconds until the first question. An admission may take in a rehearsal what it refuses in earnest: each attempt
    that comes of such an answer makes the next wait longer, or they would follow each other at once."""
    known = find_condition(ctx.status.conditions, ConditionType.BLOCKED)
    if has_changed(ctx) or known is None:
        return 0.0
    last = ctx.status.ledger[-1].attempt if ctx.status.ledger else 0
    vain = max(0, ctx.status.attempt - last - 1)
    wait = min(ctx.config.rehearse_s * 2.0 ** min(vain, 8), ctx.config.vain_attempts_s)
    return wait - seconds_since(known.last_transition_time, ctx.now)


def is_vain_change(ctx: Context, cause: Cause) -> bool:
    """Whether the attempt that ends so is one with a changed spec or code, of a job that has trained with another: the
    change is at fault, and changing it back heals what would otherwise be the end of the job."""
    if cause not in _REMEDY:
        return False
    trained = [e for e in ctx.status.ledger if e.last_step is not None and e.spec_hash]
    return bool(trained) and not any(_ran_the_same(ctx, entry) for entry in trained)


def _ran_the_same(ctx: Context, entry: LedgerEntry) -> bool:
    """Whether the execution had spec and code of the running attempt. What code an attempt has is known once its copy
    is there, and status says it once its pods are; unknown code tells of no change."""
    code = ctx.status.code_hash or running_hash(ctx)
    same_code = code is None or entry.code_hash is None or entry.code_hash == code
    return entry.spec_hash == ctx.status.spec_hash and same_code


def _tried_in_vain(ctx: Context) -> Block | None:
    """The block on what the last attempt ended of; one that runs with it is a new try."""
    last = ctx.status.ledger[-1] if ctx.status.ledger else None
    if last is None or last.cause not in _REMEDY or last.spec_hash != ctx.job.spec_hash or restart_wanted(ctx):
        return None
    if ctx.job.stage is Stage.RUNNING and not has_changed(ctx):
        return None
    said = f": {last.culprit.message}" if last.culprit and last.culprit.message else ""
    return Block(
        Reason.CANNOT_CONTINUE,
        f"attempt {last.attempt} with the changed spec or code ended: {last.cause}; change the spec back or correct it,"
        f" or {_REMEDY[last.cause]} and set the annotation {Annotation.RESTART}{said}",
    )


def _refused(ctx: Context) -> Block | None:
    """Until there is an answer, what was said last stands: a process that has just begun knows no more."""
    rehearsal = _rehearsal(ctx)
    if rehearsal is None:
        return _said_before(ctx)
    return None if rehearsal.refusal is None else _refusal(rehearsal.refusal)


def _refusal(refusal: Refusal) -> Block:
    reason = Reason.INVALID_POD if refusal.why is RefusalKind.INVALID else Reason.FORBIDDEN
    look = " (spec.podTemplate)" if refusal.kind is Kind.POD else ""
    said = f"the API server refuses {refusal.kind} {refusal.name} of this spec, correct it{look}: {refusal.message}"
    return Block(reason, said)


def _said_before(ctx: Context) -> Block | None:
    """The block that no attempt has begun for since: told by status, for nothing else would outlive the process."""
    known = find_condition(ctx.status.conditions, ConditionType.BLOCKED)
    if ctx.job.stage is not Stage.IDLE or known is None or known.status != "True":
        return None
    return Block(known.reason, known.message) if known.reason == Reason.INVALID_POD else None


def _is_in_doubt(ctx: Context) -> bool:
    """Whether the API server may refuse what the next attempt would have."""
    return has_changed(ctx) or (ctx.job.spec is not None and _said_before(ctx) is not None)


def _rehearsal(ctx: Context) -> Rehearsal | None:
    """The answer for the spec as it is."""
    found = ctx.observed.rehearsal
    return found if found and _is_in_doubt(ctx) and found.spec_hash == ctx.job.spec_hash else None
