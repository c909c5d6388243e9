"""The two deadlines, to the second, and who is named when all ranks have not met."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import at, context, pod, reply, running_status

from thunderhead_api.treaty import Cause
from thunderhead_operator.plan.deadlines import active_deadline, missed_deadline, startup_deadline

RUNNING = [
    {
        "type": "Running",
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "Training",
        "message": "",
    }
]


def test_startup_ends_when_all_ranks_have_met() -> None:
    spec = {"startupDeadlineSeconds": 60}
    assert startup_deadline(context(None, spec=spec)) == at(60)
    assert startup_deadline(context(running_status(conditions=RUNNING), spec=spec)) is None


def test_active_time_of_earlier_attempts_counts_and_suspended_time_does_not() -> None:
    spec = {"activeDeadlineSeconds": 100}
    assert active_deadline(context(None, spec=spec)) == at(100)
    assert active_deadline(context(running_status(activeSeconds=70.0), spec=spec)) == at(30)
    assert active_deadline(context(None)) is None


@pytest.mark.parametrize(("now", "missed"), [(59.9, False), (60.0, True)])
def test_startup_deadline(now: float, missed: bool) -> None:
    verdict = missed_deadline(context(None, pod(0), now=now, spec={"startupDeadlineSeconds": 60}))
    assert (verdict is not None) is missed


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"pods": [pod(0)]}, "no running container for node ranks 1"),
        ({"pods": [pod(0), pod(1, phase="Pending", node=None, unschedulable="no GPU")]}, "node ranks 1: no GPU"),
        ({"pods": [pod(0), pod(1)], "sample": reply(ranks_met=1, missing_nodes=[1])}, "missing node ranks 1"),
        ({"pods": [pod(0), pod(1)], "sample": reply(ranks_met=1)}, "1 of 2 ranks met"),
    ],
)
def test_who_is_missing_is_named(seen: dict[str, Any], said: str) -> None:
    pods = seen.pop("pods")
    verdict = missed_deadline(context(None, *pods, now=60, spec={"startupDeadlineSeconds": 60}, **seen))
    assert verdict is not None
    assert verdict.cause is Cause.STARTUP_DEADLINE
    assert said in (verdict.culprit.message or "")


def test_active_deadline_ends_after_a_checkpoint() -> None:
    verdict = missed_deadline(context(None, pod(0), pod(1), now=10, spec={"activeDeadlineSeconds": 10}))
    assert verdict is not None
    assert (verdict.cause, verdict.intact) == (Cause.ACTIVE_DEADLINE, True)
