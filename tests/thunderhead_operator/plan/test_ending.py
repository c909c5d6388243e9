"""Ending an attempt: patience while a checkpoint can be taken, none afterwards, and a bound for everything."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import at, context, pod, record, running_status

from thunderhead_api.messages import Culprit
from thunderhead_api.status import Ending
from thunderhead_api.treaty import Cause, Outcome
from thunderhead_operator.plan.actions import DeleteChild
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.ending import begin_ending, failure_message, go_on_ending
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.verdict import Verdict

Manifest = dict[str, Any]


def ending(*, graceful: bool = True, final: bool = False, cause: Cause = Cause.DRAINED) -> Ending:
    return Ending(cause=cause, free=True, final=final, at="2026-01-01T00:00:00.000Z", graceful=graceful)


def deletes(ctx: Context, intent: Ending) -> list[tuple[str, int | None]]:
    actions = go_on_ending(ctx, intent).actions
    assert all(isinstance(a, DeleteChild) and a.kind is Kind.POD for a in actions)
    return [(a.name, a.grace_s) for a in actions if isinstance(a, DeleteChild)]


@pytest.mark.parametrize(
    ("pods", "graceful", "expected"),
    [
        ([pod(0), pod(1)], True, [("digits-1-0", 30), ("digits-1-1", 30)]),
        ([pod(0), pod(1)], False, [("digits-1-0", 5), ("digits-1-1", 5)]),
        ([pod(0), pod(1, deleted_at=0)], True, [("digits-1-0", 30)]),
        ([pod(0)], True, [("digits-1-0", 5)]),
        ([pod(0), pod(1, record=record(1, Outcome.STOPPED), phase="Failed")], True, [("digits-1-0", 30)]),
        ([pod(0), pod(1, exit_code=1, phase="Failed")], True, [("digits-1-0", 5)]),
        ([pod(0, deleted_at=0), pod(1, exit_code=1, phase="Failed")], True, [("digits-1-0", 5)]),
        ([pod(0, deleted_at=0, grace_s=5), pod(1, exit_code=1, phase="Failed")], True, []),
        ([pod(0), pod(1, silent_node=True)], True, [("digits-1-0", 5), ("digits-1-1", 0)]),
    ],
    ids=[
        "all there: the grace period",
        "after a failure: short",
        "one is being deleted already",
        "one is gone: no checkpoint can come of it",
        "one has stopped as asked",
        "one has failed",
        "a long grace is shortened",
        "a short one stays",
        "dead node: by force at once",
    ],
)
def test_grace(pods: list[Manifest], graceful: bool, expected: list[tuple[str, int]]) -> None:
    assert deletes(context(None, *pods), ending(graceful=graceful)) == expected


def test_a_closed_readiness_gate_is_no_dead_node() -> None:
    gated = pod(1, silent_node=True)
    gated["status"]["conditions"][0]["reason"] = "ReadinessGatesNotReady"
    asked = deletes(context(None, pod(0), gated), ending(graceful=True))
    assert asked == [("digits-1-0", 30), ("digits-1-1", 30)]


def test_overdue_pods_are_removed_by_force() -> None:
    """Ten seconds after their deletion was due, and then by uid, so that a namesake is safe."""
    pods = pod(0, deleted_at=0, grace_s=5), pod(1, deleted_at=0, grace_s=5)
    waiting = go_on_ending(context(None, *pods, now=14.9), ending(graceful=False))
    assert waiting.actions == ()
    assert waiting.wake == (at(15), at(15))
    assert deletes(context(None, *pods, now=15), ending(graceful=False)) == [("digits-1-0", 0), ("digits-1-1", 0)]


def test_the_promise_precedes_every_action() -> None:
    ctx = context(None, pod(0), pod(1, exit_code=1))
    step = begin_ending(ctx, Verdict(Cause.POD_FAILED, Culprit(pod="digits-1-1")))
    assert step.actions == ()
    assert step.status.ending is not None
    assert (step.status.ending.cause, step.status.ending.free) == (Cause.POD_FAILED, False)


def test_the_next_attempt_begins_when_none_lives() -> None:
    stopped = pod(0, exit_code=69, phase="Failed"), pod(1, exit_code=1, phase="Failed")
    step = go_on_ending(context(None, *stopped, now=9), ending(cause=Cause.PROCESS_FAILED))
    assert (step.status.attempt, step.status.ending, step.status.pods_created_at) == (2, None, None)
    assert [e.attempt for e in step.status.ledger] == [1]
    assert step.status.last_recovery is not None


def test_a_final_end_keeps_pods_that_have_stopped() -> None:
    pods = pod(0), pod(1, exit_code=1, phase="Failed")
    assert deletes(context(None, *pods), ending(graceful=False, final=True)) == [("digits-1-0", 5)]


def test_a_job_that_finished_while_it_was_to_stop_is_complete() -> None:
    pods = [pod(r, record=record(r, Outcome.DONE, last_step=9), phase="Succeeded") for r in (0, 1)]
    step = go_on_ending(context(None, *pods), ending(cause=Cause.SUSPENDED))
    assert step.complete


def test_a_suspended_job_gets_no_next_attempt() -> None:
    step = go_on_ending(context(None, spec={"suspend": True}), ending(cause=Cause.SUSPENDED))
    assert step.suspended
    assert step.status.attempt == 1
    assert step.status.restarts.total == 0


def test_numbers_are_never_used_twice() -> None:
    """Status may be older than the children, when it was restored from a backup."""
    orphan = pod(0, attempt=7, phase="Failed", exit_code=1)
    step = go_on_ending(context(None, orphan), ending())
    assert step.status.attempt == 8


def test_fruitless_attempts_wait_before_the_next() -> None:
    entry = {
        "attempt": 1,
        "cause": "ProcessFailed",
        "free": False,
        "startedAt": "2026-01-01T00:00:00Z",
        "endedAt": "2026-01-01T00:00:00Z",
    }
    status = running_status(attempt=2, ledger=[entry])
    step = go_on_ending(context(status, now=0.5), ending(cause=Cause.PROCESS_FAILED))
    assert (step.status.attempt, step.wake) == (2, (at(1),))
    assert go_on_ending(context(status, now=1), ending(cause=Cause.PROCESS_FAILED)).status.attempt == 3


def test_the_message_says_who_where_and_what() -> None:
    culprit = Culprit(rank=3, pod="digits-1-1", node="node-1", reason="ValueError", exit_code=1, message="bad batch")
    said = failure_message(context(None), ending(cause=Cause.PROCESS_FAILED).model_copy(update={"culprit": culprit}))
    assert (
        said == "attempt 1: ProcessFailed (ValueError, exit code 1) in rank 3, pod digits-1-1, node node-1: bad batch"
    )
