"""Where the time of a job went: every second has one kind, and goodput is what was not lost."""

from __future__ import annotations

import random
from typing import Any

import pytest
from op_build import at, context, pod, record, reply, running_status

from thunderhead_api.messages import TimeSpent
from thunderhead_api.status import Ending, Goodput, TrainingJobStatus
from thunderhead_api.time_spent import (
    KINDS,
    added,
    goodput_ratio,
    less,
    seconds_of,
    time_spent,
    wanted,
    within,
)
from thunderhead_api.treaty import Cause, Outcome
from thunderhead_operator.plan.answers import with_progress
from thunderhead_operator.plan.clock import fine_stamp, stamp
from thunderhead_operator.plan.ledger import close_attempt, next_attempt

SAID = {"first_step": 0, "step": 50}


def ending(cause: Cause = Cause.PROCESS_FAILED, *, at_s: float, final: bool = False) -> Ending:
    return Ending(cause=cause, free=True, final=final, at=fine_stamp(at(at_s)))


def goodput_of(status: TrainingJobStatus) -> Goodput:
    assert status.goodput is not None
    assert status.goodput.time is not None
    return status.goodput


def kinds(time: TimeSpent | None) -> dict[str, float]:
    return {} if time is None else time.model_dump(by_alias=False, exclude_none=True)


@pytest.mark.parametrize(
    ("spent", "percent"),
    [
        ({"counted": 80, "other": 20}, 100),
        ({"counted": 20, "validation": 980}, 100),
        (
            {"counted": 50, "repeated": 10, "checkpoint_stall": 10, "starting": 10, "restoring": 10, "recovering": 10},
            50,
        ),
        ({"counted": 90, "starting": 10, "suspended": 1e6, "queued": 1e6}, 90),
        ({"queued": 60}, 0),
        ({"starting": 5, "other": 7}, 0),
        ({"validation": 6, "other": 4}, 100),
        ({}, 0),
    ],
    ids=[
        "nothing lost",
        "long validation",
        "each loss",
        "not wanted or not possible",
        "never ran",
        "failed before its first step was done",
        "an evaluation alone",
        "nothing",
    ],
)
def test_goodput_is_what_was_not_lost_of_the_time_wanted_to_run(spent: dict[str, float], percent: int) -> None:
    assert round(100 * goodput_ratio(time_spent(**spent))) == percent


def test_a_long_validation_is_no_loss() -> None:
    """Sixty seconds, of which one was in steps that counted and fifty in a validation: not 2 %."""
    spent = time_spent(counted=1, validation=50, starting=6)
    ctx = context(None, pod(0), pod(1), now=60, sample=reply(**SAID, training_seconds=1.0, spent=spent))
    goodput = goodput_of(with_progress(ctx, ctx.status))
    assert kinds(goodput.time) == {"counted": 1.0, "validation": 50.0, "starting": 9.0}
    assert (goodput.ratio_percent, goodput.wall_seconds) == (85, 60.0)


def test_before_its_place_a_job_is_queued_and_then_it_starts() -> None:
    late = pod(1)
    late["status"]["conditions"].append({"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(at(20))})
    ctx = context(None, pod(0), late, now=40, sample=reply(**SAID, spent=time_spent(counted=10, starting=5)))
    assert kinds(goodput_of(with_progress(ctx, ctx.status)).time) == {"counted": 10.0, "queued": 20.0, "starting": 10.0}


def test_the_same_step_done_again_is_lost_once() -> None:
    """Steps 0 to 10 in ten seconds, a failure, steps 5 to 15: five seconds were lost, not ten."""
    first = context(
        None, pod(0, record=record(0, Outcome.FAILED, first_step=0, last_step=10, spent=time_spent(counted=10))), now=10
    )
    closed = close_attempt(first, ending(at_s=10))
    second = running_status(**closed.model_dump(mode="json", exclude_none=True) | {"attempt": 2}) | {
        "attemptStartedAt": stamp(at(10)),
        "podsCreatedAt": stamp(at(10)),
    }
    told = reply(attempt=2, first_step=5, step=15, spent=time_spent(counted=5, repeated=5))
    ctx = context(second, pod(0, attempt=2), pod(1, attempt=2), now=20, sample=told)
    goodput = goodput_of(with_progress(ctx, ctx.status))
    assert seconds_of(goodput.time, "counted") == 15.0
    assert goodput.ratio_percent == 75


@pytest.mark.parametrize(
    ("cause", "final", "kind"),
    [
        (Cause.NODE_LOST, False, "recovering"),
        (Cause.SPEC_CHANGED, False, "recovering"),
        (Cause.SUSPENDED, False, "suspended"),
        (Cause.COMPLETED, True, "other"),
        (Cause.PROCESS_FAILED, True, "other"),
    ],
)
def test_what_follows_the_last_word_depends_on_what_comes_next(cause: Cause, final: bool, kind: str) -> None:
    """The agent last told at second 30; the attempt is closed at second 100."""
    told = reply(**SAID, spent=time_spent(counted=25, starting=5))
    ctx = context(None, pod(0), pod(1), now=30, sample=told)
    status = with_progress(ctx, ctx.status)
    later = context(status.model_dump(mode="json", exclude_none=True), now=100)
    closed = close_attempt(later, ending(cause, at_s=60, final=final))
    assert kinds(closed.ledger[-1].time) == {"counted": 25.0, "starting": 5.0, kind: 70.0}


def test_time_without_an_attempt_is_suspended_or_queued() -> None:
    entry = {"attempt": 1, "cause": "Suspended", "free": True, "startedAt": stamp(at(0)), "endedAt": stamp(at(50))}
    spent = {"counted": 50.0}
    goodput = {"time": spent, "endedTime": spent, "trainingSeconds": 50.0, "wallSeconds": 50.0, "ratioPercent": 100}
    for suspended in (True, False):
        condition = {
            "type": "Suspended",
            "status": str(suspended),
            "observedGeneration": 1,
            "lastTransitionTime": stamp(at(50)),
            "reason": "Suspended",
            "message": "",
        }
        idle = running_status(ledger=[entry], goodput=goodput, conditions=[condition]) | {"attemptStartedAt": None}
        ctx = context(idle, now=90)
        after = goodput_of(next_attempt(ctx, ctx.status))
        assert kinds(after.time) == {"counted": 50.0, "suspended" if suspended else "queued": 40.0}
        assert (after.wall_seconds, after.ratio_percent) == (50.0, 100)


@pytest.mark.parametrize("seed", range(40))
def test_every_second_since_the_first_attempt_has_one_kind(seed: int) -> None:
    """Whatever is said by whom, true or not, the kinds add up to the clock."""
    rng = random.Random(seed)
    status: dict[str, Any] = running_status(attempt=1)
    now = 0.0
    for attempt in range(1, 6):
        now += rng.randint(1, 300)
        told = time_spent(**{kind: rng.choice([0, 1, 7, 90, 1000]) * rng.random() for kind in KINDS})
        pods = []
        if rng.random() < 0.5:
            ended = record(0, Outcome.FAILED, first_step=0, last_step=9, spent=told)
            ended = ended.model_copy(update={"attempt": attempt})
            pods = [pod(0, attempt=attempt, record=ended)]
        said = reply(
            attempt=attempt,
            first_step=0,
            step=50 + attempt,
            spent=rng.choice([told, None]),
            training_seconds=rng.random() * 1000,
        )
        ctx = context(status, *pods, now=now, sample=rng.choice([said, None]))
        told_of = with_progress(ctx, ctx.status)
        if told_of is not ctx.status:
            assert seconds_of(goodput_of(told_of).time) == pytest.approx(now, abs=1.0), f"seed {seed}"
        now += rng.randint(0, 100)
        ctx = context(told_of.model_dump(mode="json", exclude_none=True), *pods, now=now)
        closed = close_attempt(ctx, ending(rng.choice(list(Cause)), at_s=now - rng.random()))
        assert seconds_of(goodput_of(closed).time) == pytest.approx(now, abs=1.0), f"seed {seed}"
        assert 0 <= goodput_of(closed).ratio_percent <= 100
        status = closed.model_dump(mode="json", exclude_none=True) | {
            "attempt": attempt + 1,
            "attemptStartedAt": stamp(at(now)),
            "podsCreatedAt": stamp(at(now)),
        }


def test_a_status_of_before_kinds_were_told_goes_on_with_what_it_knew() -> None:
    old = running_status(goodput={"trainingSeconds": 30.0, "endedTrainingSeconds": 30.0, "wallSeconds": 40.0})
    ctx = context(old, pod(0), pod(1), now=10, sample=reply(**SAID, training_seconds=5.0))
    assert seconds_of(goodput_of(with_progress(ctx, ctx.status)).time, "counted") == 35.0


def test_sums_of_kinds() -> None:
    one, other = time_spent(counted=2, queued=1), time_spent(counted=5.04, other=0.04)
    assert kinds(added(one, other)) == {"counted": 7.0, "queued": 1.0}
    assert kinds(less(added(one, other), one)) == {"counted": 5.0}
    assert kinds(within(time_spent(counted=30, validation=10), 20.0)) == {"counted": 15.0, "validation": 5.0}
    assert wanted(time_spent(counted=1, queued=5, suspended=6, recovering=2)) == 3
    assert seconds_of(None) == 0
