"""What the agents' answers make of status: progress, checkpoint, goodput, and what the last recovery cost."""

from __future__ import annotations

from datetime import datetime
from itertools import takewhile

from thunderhead_api.messages import MetricValue, StatusReply
from thunderhead_api.status import METRICS_MAX, LedgerEntry, Progress, Recovery, TrainingJobStatus
from thunderhead_operator.plan.clock import fine_stamp, parse_time, stamp
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.given_up import given_up_of
from thunderhead_operator.plan.span import Span, span_of
from thunderhead_operator.plan.spending import running_goodput


def with_progress(ctx: Context, status: TrainingJobStatus) -> TrainingJobStatus:
    """``status`` with the newest answer in it; unchanged where that says nothing new: time alone writes nothing."""
    reply, sample = ctx.reply, ctx.observed.sample
    if reply is None or sample is None or reply.first_step is None:
        return status
    progress = _progress(reply, sample.at, status.progress)
    given_up = given_up_of(ctx)
    same = progress is status.progress and (reply.resume_notes, given_up) == (status.resume_notes, status.given_up)
    if same and reply.checkpoint in (None, status.checkpoint):
        return status
    return status.model_copy(
        update={
            "progress": progress,
            "checkpoint": reply.checkpoint or status.checkpoint,
            "resume_notes": reply.resume_notes,
            "given_up": given_up,
            "goodput": running_goodput(ctx, reply, sample.at),
        }
    )


def with_last_word(status: TrainingJobStatus, span: Span, now: datetime, *, done: bool) -> TrainingJobStatus:
    """Progress as the records of ended pods have it: the last answer pulled is older than they are."""
    before = status.progress
    if span.last_step is None:
        return status
    base = before or Progress(updated_at=stamp(now))
    update = {
        "step": span.last_step,
        "non_finite_step": base.non_finite_step if span.non_finite_step is None else span.non_finite_step,
        "metrics": _newer(base.metrics, span.metrics or {}),
        "percent": 100 if done else _percent(base, span.last_step),
    }
    told = base.model_copy(update=update)
    if told == before:
        return status
    return status.model_copy(update={"progress": told.model_copy(update={"updated_at": stamp(now)})})


def _newer(before: dict[str, MetricValue], last: dict[str, MetricValue]) -> dict[str, MetricValue]:
    """A record has room for a few values: those are newer, and the others stay as they were last heard."""
    kept = {name: value for name, value in before.items() if name not in last}
    return {**last, **dict(list(kept.items())[: METRICS_MAX - len(last)])}


def _percent(progress: Progress, step: int) -> int | None:
    """Of the steps to do, where their number is known; else as last heard."""
    return min(100, 100 * step // progress.max_steps) if progress.max_steps else progress.percent


def with_recovery(ctx: Context, status: TrainingJobStatus) -> TrainingJobStatus:
    """``status`` with the recovery closed, once the attempt after it has made its first new step."""
    recovery, ledger = status.last_recovery, status.ledger
    if recovery is None or recovery.resumed_at is not None or not ledger:
        return status
    span = span_of(ctx)
    if span.first_step_at is None:
        return status
    detected = parse_time(recovery.detected_at)
    resumed = min(max(span.first_step_at, detected), ctx.now)
    seconds = round((resumed - detected).total_seconds(), 1)
    lost = _steps_lost(ledger, span.first_step)
    closed = Recovery(
        cause=recovery.cause,
        detected_at=recovery.detected_at,
        resumed_at=fine_stamp(resumed),
        seconds=seconds,
        steps_lost=lost,
    )
    entry = ledger[-1].model_copy(update={"seconds_lost": seconds})
    update = {"last_recovery": closed, "ledger": [*ledger[:-1], entry]}
    return status.model_copy(update=update)


def _progress(reply: StatusReply, at: datetime, before: Progress | None) -> Progress | None:
    fresh = Progress(
        epoch=reply.epoch,
        step=reply.step,
        max_steps=reply.max_steps,
        percent=reply.percent,
        step_seconds=None if reply.step_seconds is None else round(reply.step_seconds, 6),
        metrics=reply.metrics,
        non_finite_step=reply.non_finite_step,
        metrics_left_out=reply.metrics_left_out,
        skipped_checkpoints=reply.skipped_checkpoints,
        updated_at=stamp(at),
    )
    if before is not None and fresh.model_copy(update={"updated_at": before.updated_at}) == before:
        return before
    return fresh


def _steps_lost(ledger: list[LedgerEntry], first: int | None) -> int | None:
    """Against the highest step since the last recovery: an execution that came to nothing takes none of them back."""
    open_ = takewhile(lambda entry: entry.seconds_lost is None, reversed(ledger))
    reached = max((entry.last_step for entry in open_ if entry.last_step is not None), default=None)
    return max(0, reached - first) if reached is not None and first is not None else None
