"""An attempt that is to live: create what is missing of it, and notice why it must end."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from thunderhead_api.conditions import MESSAGE_MAX
from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Cause, Label
from thunderhead_operator.plan.actions import Action, CreateChild, DeleteChild
from thunderhead_operator.plan.blocked import next_retry
from thunderhead_operator.plan.clock import stamp
from thunderhead_operator.plan.code import code_is_missing, is_kept, running_hash
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.deadlines import active_deadline, missed_deadline, startup_deadline
from thunderhead_operator.plan.ending import all_done, begin_ending, completed, stop_pod, wake_times
from thunderhead_operator.plan.half_made import half_made
from thunderhead_operator.plan.hold import asking, denied, hold_of, is_rehearsed, refused_invalid, rehearsal_for
from thunderhead_operator.plan.kinds import Kind, of_attempts
from thunderhead_operator.plan.ledger import next_attempt, released
from thunderhead_operator.plan.objects import Obj, int_label, name_of, owner_uid, uid_of
from thunderhead_operator.plan.pods import PodView
from thunderhead_operator.plan.render import attempt_children, attempt_key, job_children
from thunderhead_operator.plan.render_pod import render_pod
from thunderhead_operator.plan.renewal import renewals
from thunderhead_operator.plan.restart import restart_wanted
from thunderhead_operator.plan.ruling import Ruling
from thunderhead_operator.plan.spec_change import has_changed, spec_changes
from thunderhead_operator.plan.verdict import Pending, Verdict, verdict_of

_PODS_A_PASS: Final = 250
"""Rendered at once: a pass never awaits while it decides, so all jobs wait for it."""


def idle(ctx: Context) -> Ruling:
    """No attempt runs: begin one unless the user wants none."""
    if ctx.job.spec is None and ctx.status.attempt == 0:  # once it has begun, a change of it ends nothing
        return Ruling(ctx.status, failure=ctx.job.refused_as, message=ctx.job.problem or "")
    if ctx.job.suspend:
        live = [pod for pod in ctx.pods if not pod.stopped]
        stops = tuple(a for pod in live if (a := stop_pod(ctx, pod, ctx.config.survivor_grace_s)))
        return Ruling(ctx.status, stops, tuple(wake_times(ctx, live)), suspended=True)
    hold, question = hold_of(ctx), rehearsal_for(ctx)
    if hold is None and is_rehearsed(ctx):
        return Ruling(next_attempt(ctx, ctx.status), suspended=False)
    return asking(ctx, Ruling(released(ctx.status), hold=hold, suspended=False), question)


def active(ctx: Context) -> Ruling:
    """An attempt is promised or runs."""
    if all_done(ctx):
        return completed(ctx)
    verdict = verdict_of(ctx)
    ending = verdict if isinstance(verdict, Verdict) else _asked_to_end(ctx)
    if ending is not None:
        return begin_ending(ctx, ending)
    wake = tuple(t for t in (active_deadline(ctx), startup_deadline(ctx)) if t)
    wake += (verdict.until,) if isinstance(verdict, Pending) else ()
    wake += tuple(wake_times(ctx, _older_pods(ctx)))
    ruling = _create(ctx) if ctx.job.stage is Stage.CREATING else _keep(ctx)
    return replace(ruling, wake=wake + ruling.wake)


def _asked_to_end(ctx: Context) -> Verdict | None:
    """Reasons that are no failure of a pod: the spec, the user, the clock."""
    if ctx.job.suspend:
        return Verdict(Cause.SUSPENDED, Culprit(), intact=True)
    if (has_changed(ctx) or ctx.job.spec is None) and _can_change(ctx):
        said = (ctx.job.problem or "; ".join(spec_changes(ctx)))[:MESSAGE_MAX]
        return Verdict(Cause.SPEC_CHANGED, Culprit(message=said or None), intact=True)
    if restart_wanted(ctx) and _can_change(ctx):
        return Verdict(Cause.RESTART_REQUESTED, Culprit(), intact=True)
    return half_made(ctx) or missed_deadline(ctx)


def _can_change(ctx: Context) -> bool:
    """Whether the attempt may be ended for a change: one that runs only if the next can go on with it."""
    return ctx.job.stage is Stage.CREATING or (hold_of(ctx) is None and is_rehearsed(ctx))


def _keep(ctx: Context) -> Ruling:
    """An attempt that runs, whatever is wrong with a change that came after it began."""
    return asking(ctx, Ruling(ctx.status, _tidy(ctx), hold=hold_of(ctx)), rehearsal_for(ctx))


def _create(ctx: Context) -> Ruling:
    """Pods of another attempt first have to be gone: two attempts never run together."""
    strangers = [pod for pod in ctx.pods if pod.attempt != ctx.status.attempt and not pod.stopped]
    if strangers:
        stops = tuple(a for pod in strangers if (a := stop_pod(ctx, pod, ctx.config.survivor_grace_s)))
        return Ruling(ctx.status, stops, tuple(wake_times(ctx, strangers)))
    if not ctx.missing:
        seen = {"pods_created_at": stamp(ctx.now), "code_hash": running_hash(ctx)}
        return Ruling(ctx.status.model_copy(update=seen))
    # promised by an operator of another policy, or refused before anything runs: no clock of the job's goes on
    if not ctx.current and (block := denied(ctx) or refused_invalid(ctx)) is not None:
        return Ruling(released(ctx.status), hold=block)
    if code_is_missing(ctx):
        return Ruling(ctx.status, wake=next_retry(ctx))
    pods = tuple(CreateChild(Kind.POD, render_pod(ctx, rank)) for rank in ctx.missing[:_PODS_A_PASS])
    retry = next_retry(ctx) if ctx.observed.refusals else ()
    wanted = job_children(ctx)
    made = _absent(ctx, (*wanted, *attempt_children(ctx)))
    return Ruling(ctx.status, (*made, *renewals(ctx, wanted), *_stale(ctx), *attempt_key(ctx), *pods), retry)


def _tidy(ctx: Context) -> tuple[Action, ...]:
    """What a running attempt needs besides its pods, put back if somebody took it, and what is left of older ones."""
    wanted = job_children(ctx)
    return (*_absent(ctx, wanted), *renewals(ctx, wanted), *_stale(ctx))


def _absent(ctx: Context, wanted: tuple[CreateChild, ...]) -> tuple[CreateChild, ...]:
    """Those of ``wanted``, which are no pods, that are not there yet."""
    there = {kind: {name_of(child) for child in _ours(ctx, kind)} for kind in {child.kind for child in wanted}}
    return tuple(child for child in wanted if name_of(child.manifest) not in there[child.kind])


def _ours(ctx: Context, kind: Kind) -> list[Obj]:
    return [child for child in ctx.observed.of(kind) if owner_uid(child) == ctx.job.uid]


def _stale(ctx: Context) -> tuple[Action, ...]:
    """What older attempts had of their own: kept until the next attempt is under way, so that logs can be read."""
    stops = (stop_pod(ctx, pod, ctx.config.survivor_grace_s) for pod in _older_pods(ctx))
    others = [
        DeleteChild(kind, name_of(child), uid_of(child))
        for kind in of_attempts()
        for child in _ours(ctx, kind)
        if kind is not Kind.POD and 0 < int_label(child, Label.ATTEMPT) < ctx.status.attempt
        if not (kind is Kind.CONFIG_MAP and is_kept(ctx, child))
    ]
    return (*(stop for stop in stops if stop), *others)


def _older_pods(ctx: Context) -> list[PodView]:
    return [pod for pod in ctx.pods if pod.attempt < ctx.status.attempt]
