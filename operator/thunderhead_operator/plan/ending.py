"""Ending an attempt: first the promise in status, then its pods, and only when none is left what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from thunderhead_api.conditions import Reason
from thunderhead_api.messages import Culprit
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.status import Ending
from thunderhead_api.treaty import Cause, Outcome
from thunderhead_operator.plan.actions import Action, DeleteChild
from thunderhead_operator.plan.budget import fruitless_row, price_of, restart_delay_s
from thunderhead_operator.plan.clock import fine_stamp, parse_time
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.hold import hold_of, is_rehearsed
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.ledger import close_attempt, next_attempt, released
from thunderhead_operator.plan.pods import PodView
from thunderhead_operator.plan.ruling import Ruling
from thunderhead_operator.plan.same_failure import same_before
from thunderhead_operator.plan.span import Span, span_of
from thunderhead_operator.plan.verdict import Verdict, is_cut_off, is_done

_DEFAULT_GRACE_S = TrainingJobSpec.model_fields["termination_grace_period_seconds"].default

_NAMESPACE_LOOK_S = 5.0


def begin_ending(ctx: Context, verdict: Verdict) -> Ruling:
    """The promise to end the running attempt. No pod is touched before it is written: what was seen would be lost with
    them in a crash."""
    span = span_of(ctx)
    price = price_of(ctx, verdict.cause, verdict.culprit, span)
    ending = Ending(
        cause=verdict.cause,
        free=price.free,
        final=price.final,
        reason=price.reason,
        culprit=verdict.culprit if verdict.culprit != Culprit() else None,
        at=fine_stamp(ctx.now),
        first_step=span.first_step,
        last_step=span.last_step,
        graceful=verdict.intact,
    )
    return Ruling(ctx.status.model_copy(update={"ending": ending}))


def go_on_ending(ctx: Context, ending: Ending) -> Ruling:
    """Stop what still runs; when nothing does, close the entry and go on."""
    if all_done(ctx):  # it finished before it could be stopped
        return completed(ctx)
    live = [pod for pod in ctx.pods if not pod.stopped]
    if not live:
        return _after(ctx, ending)
    grace = _grace_s(ctx, ending)
    actions = tuple(a for pod in live if (a := stop_pod(ctx, pod, grace)))
    return Ruling(ctx.status, actions, tuple(wake_times(ctx, live)))


def all_done(ctx: Context) -> bool:
    """Whether every node of the attempt finished its work; the last sight of a pod that is gone counts."""
    pods = {**ctx.ghosts, **ctx.current}
    return ctx.num_nodes > 0 and all(rank in pods and is_done(pods[rank]) for rank in range(ctx.num_nodes))


def completed(ctx: Context) -> Ruling:
    """The end that everyone wants."""
    span = span_of(ctx)
    ending = Ending(
        cause=Cause.COMPLETED,
        free=True,
        final=True,
        at=fine_stamp(ctx.now),
        first_step=span.first_step,
        last_step=span.last_step,
    )
    where = f" at step {span.last_step}" if span.last_step is not None else ""
    return Ruling(close_attempt(ctx, ending), complete=True, message=f"all {ctx.num_nodes} nodes finished{where}")


def stop_pod(ctx: Context, pod: PodView, grace_s: int) -> Action | None:
    """The next thing to do to a pod that is to end, if any is due. Never more patient than an earlier request."""
    if is_cut_off(pod):
        return DeleteChild(Kind.POD, pod.name, pod.uid, 0)
    if pod.deletion_due is None:
        return DeleteChild(Kind.POD, pod.name, pod.uid, grace_s)
    if ctx.now >= _overdue_at(ctx, pod):
        return DeleteChild(Kind.POD, pod.name, pod.uid, 0)
    if pod.deletion_grace_s is not None and pod.deletion_grace_s > grace_s:
        return DeleteChild(Kind.POD, pod.name, pod.uid, grace_s)
    return None


def wake_times(ctx: Context, pods: list[PodView]) -> Iterator[datetime]:
    """When the pods being deleted are overdue."""
    return (_overdue_at(ctx, pod) for pod in pods if pod.deletion_due)


def _overdue_at(ctx: Context, pod: PodView) -> datetime:
    assert pod.deletion_due is not None
    return pod.deletion_due + timedelta(seconds=ctx.config.overdue_s)


def _grace_s(ctx: Context, ending: Ending) -> int:
    """The grace period while a checkpoint can be agreed on: not once a pod is gone or has failed, for then the others
    can only wait for it."""
    given = ctx.job.spec.termination_grace_period_seconds if ctx.job.spec else _DEFAULT_GRACE_S
    short = min(ctx.config.survivor_grace_s, given)
    if not ending.graceful or (ctx.missing and ctx.status.pods_created_at is not None):
        return short
    broken = any(p.terminated and not _ended_well(p) for p in ctx.current.values())
    return short if broken or any(is_cut_off(p) for p in ctx.pods) else given


def _ended_well(pod: PodView) -> bool:
    return is_done(pod) or bool(pod.record and pod.record.outcome is Outcome.STOPPED)


def _after(ctx: Context, ending: Ending) -> Ruling:
    closed = close_attempt(ctx, ending)
    if ending.final:
        reason = ending.reason or ending.cause.value
        return Ruling(closed, failure=reason, message=failure_message(ctx, ending))
    if ctx.job.suspend:
        return Ruling(closed, suspended=True)
    ready_at = parse_time(ending.at) + timedelta(seconds=restart_delay_s(closed.ledger, ctx.config.restart_delay_max_s))
    if ctx.now < ready_at:
        return Ruling(ctx.status, wake=(ready_at,))
    if ctx.observed.namespace_goes:  # the job goes with it; if it stays after all, its next look begins an attempt
        return Ruling(ctx.status, wake=(ctx.now + timedelta(seconds=_NAMESPACE_LOOK_S),))
    over = replace(ctx, job=replace(ctx.job, status=released(closed)))
    hold = hold_of(over)
    if hold is not None or not is_rehearsed(over):
        return Ruling(over.status, hold=hold)
    return Ruling(next_attempt(ctx, closed))


def _why_final(ctx: Context, ending: Ending) -> str:
    """Why no other attempt follows, where the failure itself does not say it."""
    span = Span(first_step=ending.first_step, last_step=ending.last_step)
    if ending.reason == Reason.RESTARTS_EXHAUSTED:
        return f"; {ctx.status.restarts.charged} restarts charged"
    if ending.reason == Reason.NO_PROGRESS:
        return f"; {fruitless_row(ctx, ending.cause, span)} executions in a row made no new step"
    before = same_before(ctx, ending.cause, ending.culprit, span) if ending.reason == Reason.SAME_FAILURE else None
    if before is None or ending.culprit is None:
        return ""
    return f"; the same at step {ending.culprit.step or 0} in {ending.culprit.place} as in attempt {before.attempt}"


def failure_message(ctx: Context, ending: Ending) -> str:
    """Why the job failed, for the condition: whose fault, in which attempt, and the end of what it said."""
    culprit = ending.culprit or Culprit()
    place = [f"rank {culprit.rank}"] if culprit.rank is not None else []
    place += [f"pod {culprit.pod}"] if culprit.pod else []
    place += [f"node {culprit.node}"] if culprit.node else []
    what = [culprit.reason] if culprit.reason and culprit.reason != ending.cause else []
    what += [culprit.signal] if culprit.signal else []
    what += [f"exit code {culprit.exit_code}"] if culprit.exit_code is not None and not culprit.signal else []
    head = f"attempt {ctx.status.attempt}: {ending.cause}"
    head += f" ({', '.join(what)})" if what else ""
    head += f" in {', '.join(place)}" if place else ""
    return head + _why_final(ctx, ending) + (f": {culprit.message}" if culprit.message else "")
