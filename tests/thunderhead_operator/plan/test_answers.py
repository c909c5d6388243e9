"""What agents say becomes status: progress, goodput, and what a recovery cost."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import at, context, pod, record, reply, running_status

from thunderhead_api.messages import CommittedCheckpoint
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import Cause, Outcome
from thunderhead_operator.plan.answers import with_last_word, with_progress, with_recovery
from thunderhead_operator.plan.clock import stamp
from thunderhead_operator.plan.ledger import close_attempt
from thunderhead_operator.plan.span import Span, span_of

COMMIT = CommittedCheckpoint(uri="s3://b/p/steps/10", step=10, committed_at="2026-01-01T00:00:05Z")
ENTRY = {
    "attempt": 1,
    "cause": "NodeLost",
    "free": True,
    "startedAt": "2026-01-01T00:00:00Z",
    "endedAt": "2026-01-01T00:00:40Z",
    "firstStep": 0,
    "lastStep": 17,
}


def recovering(**changes: Any) -> dict[str, Any]:
    """Attempt 2 after the loss of a node, noticed at second 30."""
    base = {
        "attempt": 2,
        "attemptStartedAt": "2026-01-01T00:00:40Z",
        "podsCreatedAt": "2026-01-01T00:00:40Z",
        "ledger": [ENTRY],
        "lastRecovery": {"cause": "NodeLost", "detectedAt": "2026-01-01T00:00:30.000Z"},
        "goodput": {"trainingSeconds": 17.0, "endedTrainingSeconds": 17.0, "wallSeconds": 40.0, "ratioPercent": 42},
        "progress": {"step": 17, "stepSeconds": 1.0, "updatedAt": "2026-01-01T00:00:29Z"},
    }
    return running_status(**(base | changes))


def test_an_answer_becomes_progress() -> None:
    said = reply(
        first_step=0, step=12, max_steps=100, percent=12, training_seconds=6.0, step_seconds=0.5, checkpoint=COMMIT
    )
    ctx = context(None, pod(0), pod(1), now=10, sample=said)
    status = with_progress(ctx, ctx.status)
    assert status.progress is not None
    assert (status.progress.step, status.progress.percent, status.progress.step_seconds) == (12, 12, 0.5)
    assert status.checkpoint == COMMIT
    assert status.goodput is not None
    assert (status.goodput.training_seconds, status.goodput.wall_seconds, status.goodput.ratio_percent) == (6, 10, 60)


def test_the_same_answer_later_is_no_news() -> None:
    said = reply(first_step=0, step=12, checkpoint=COMMIT)
    first = context(None, now=10, sample=said)
    once = with_progress(first, first.status)
    again = context(once.model_dump(mode="json"), now=99, sample=said)
    assert with_progress(again, again.status) == once


def test_an_answer_of_another_attempt_or_job_is_ignored() -> None:
    for wrong in ({"attempt": 2}, {"uid": "another"}, {"treaty": 9}):
        ctx = context(None, now=10, sample=reply(first_step=0, step=12, **wrong))
        assert with_progress(ctx, ctx.status) == ctx.status


def test_goodput_never_leaves_its_bounds() -> None:
    ctx = context(None, now=10, sample=reply(first_step=0, step=1, training_seconds=1e9))
    goodput = with_progress(ctx, ctx.status).goodput
    assert goodput is not None
    assert goodput.ratio_percent == 100


def test_the_first_new_step_closes_the_recovery() -> None:
    said = reply(attempt=2, first_step=10, step=11, first_step_at="2026-01-01T00:00:52.250Z")
    ctx = context(recovering(), now=60, sample=said)
    status = with_recovery(ctx, ctx.status)
    recovery = status.last_recovery
    assert recovery is not None
    assert (recovery.seconds, recovery.steps_lost, recovery.resumed_at) == (22.2, 7, "2026-01-01T00:00:52.250Z")
    assert status.ledger[-1].seconds_lost == 22.2
    assert with_recovery(context(status.model_dump(mode="json"), now=90, sample=said), status) == status


@pytest.mark.parametrize(
    ("reached", "lost"),
    [
        ([(100, None), (None, None)], 40),
        ([(100, None), (70, None)], 40),
        ([(100, 9.0), (70, None)], 10),
        ([(None, None)], None),
    ],
    ids=["the next did not begin", "the next died on the way", "the next recovered", "nobody knows"],
)
def test_steps_are_lost_from_the_highest_that_no_attempt_has_come_back_to(reached: Any, lost: int | None) -> None:
    ledger = [{**ENTRY, "attempt": n, "lastStep": step, "secondsLost": s} for n, (step, s) in enumerate(reached, 1)]
    said = reply(attempt=9, first_step=60, step=61, first_step_at="2026-01-01T00:00:52.250Z")
    ctx = context(recovering(attempt=9, ledger=ledger), now=60, sample=said)
    recovery = with_recovery(ctx, ctx.status).last_recovery
    assert recovery is not None
    assert recovery.steps_lost == lost


def test_a_pods_clock_is_not_believed_beyond_reason() -> None:
    for claimed, seconds in (("2020-01-01T00:00:00Z", 0.0), ("2030-01-01T00:00:00Z", 30.0), ("yesterday", None)):
        ctx = context(recovering(), now=60, sample=reply(attempt=2, first_step=10, step=11, first_step_at=claimed))
        recovery = with_recovery(ctx, ctx.status).last_recovery
        assert recovery is not None
        assert recovery.seconds == seconds


def test_records_know_more_than_answers_and_answers_more_than_status() -> None:
    progress = {"step": 7, "updatedAt": "2026-01-01T00:00:09Z"}
    told = pod(1, record=record(1, Outcome.FAILED, last_step=9, first_step=0, training_seconds=4.5))
    assert span_of(context(running_status(progress=progress), pod(0))).last_step == 7
    asked = context(running_status(progress=progress), pod(0), sample=reply(first_step=0, step=8))
    assert span_of(asked).last_step == 8
    both = context(running_status(progress=progress), pod(0), told, sample=reply(first_step=0, step=8))
    assert (span_of(both).last_step, span_of(both).training_seconds) == (9, 4.5)


def test_progress_of_an_earlier_attempt_is_not_this_ones() -> None:
    assert span_of(context(recovering())).last_step is None


def test_closing_adds_up() -> None:
    ctx = context(
        recovering(activeSeconds=40.0, restarts={"charged": 0, "free": 1, "total": 1}),
        now=100,
        sample=reply(attempt=2, first_step=10, step=30, training_seconds=20.0, checkpoint=COMMIT),
    )
    closed = close_attempt(ctx, ending_of(Cause.HUNG, free=False))
    assert closed.active_seconds == 100.0
    assert (closed.restarts.charged, closed.restarts.free, closed.restarts.total) == (1, 1, 2)
    assert closed.goodput is not None
    assert closed.goodput.training_seconds == 37.0
    assert (closed.ledger[-1].first_step, closed.ledger[-1].last_step) == (10, 30)
    assert closed.last_recovery is not None
    assert closed.last_recovery.cause is Cause.HUNG
    assert closed.checkpoint == COMMIT


def ending_of(cause: Cause, *, free: bool) -> Any:
    from thunderhead_api.status import Ending

    return Ending(cause=cause, free=free, at="2026-01-01T00:01:30.000Z")


def test_the_ledger_is_bounded_and_keeps_the_newest() -> None:
    many = [{**ENTRY, "attempt": n} for n in range(1, 33)]
    closed = close_attempt(context(recovering(ledger=many, attempt=33), now=100), ending_of(Cause.NODE_LOST, free=True))
    assert [e.attempt for e in closed.ledger] == list(range(2, 34))


def test_the_last_word_is_the_records() -> None:
    status = TrainingJobStatus.model_validate(recovering())
    done = with_last_word(status, Span(last_step=20, metrics={"loss": 0.5}), at(99), done=True)
    assert done.progress is not None
    assert status.progress is not None
    assert (done.progress.step, done.progress.percent) == (20, 100)
    assert done.progress.metrics == {**status.progress.metrics, "loss": 0.5}
    assert with_last_word(status, Span(), at(99), done=False) == status


def test_a_step_that_was_no_number_is_the_records_too() -> None:
    """The last answer may be older than it, and a record of an attempt that found none says nothing against it."""
    status = TrainingJobStatus.model_validate(recovering())
    done = with_last_word(status, Span(last_step=20, non_finite_step=19), at(99), done=True)
    assert done.progress is not None
    assert done.progress.non_finite_step == 19
    again = with_last_word(done, Span(last_step=21), at(99), done=True)
    assert again.progress is not None
    assert again.progress.non_finite_step == 19


@pytest.mark.parametrize(
    ("word", "after"),
    [
        ({"non_finite_step": 19}, {"non_finite_step": 19}),
        ({"metrics": {"loss": 0.25}}, {"metrics": {"loss": 0.25}}),
        ({}, None),
    ],
    ids=["no number", "newer values", "nothing new"],
)
def test_a_record_of_the_step_that_was_heard_last_may_still_say_more(word: Any, after: Any) -> None:
    progress = {"step": 20, "metrics": {"loss": 0.5}, "percent": 50, "maxSteps": 40, "updatedAt": stamp(at(0))}
    status = TrainingJobStatus.model_validate(recovering(progress=progress))
    told = with_last_word(status, Span(last_step=20, **word), at(99), done=False).progress
    assert told is not None
    heard = status.progress
    assert heard is not None
    assert told == (heard if after is None else heard.model_copy(update={**after, "updated_at": stamp(at(99))}))


def test_values_that_the_record_had_no_room_for_stay_as_last_heard() -> None:
    heard = {f"m{index}": 1.0 for index in range(32)}
    status = TrainingJobStatus.model_validate(recovering())
    assert status.progress is not None
    status = status.model_copy(update={"progress": status.progress.model_copy(update={"metrics": heard})})
    done = with_last_word(status, Span(last_step=20, metrics={"m3": 2.0, "new": 2.0}), at(99), done=True)
    assert done.progress is not None
    assert done.progress.metrics == {**{f"m{index}": 1.0 for index in range(31)}, "m3": 2.0, "new": 2.0}


def test_the_percentage_follows_the_last_word() -> None:
    status = TrainingJobStatus.model_validate(
        recovering(progress={"step": 5, "maxSteps": 40, "percent": 12, "updatedAt": ""})
    )
    stopped = with_last_word(status, Span(last_step=13), at(99), done=False)
    assert stopped.progress is not None
    assert (stopped.progress.step, stopped.progress.percent) == (13, 32)
