"""What the short columns of ``kubectl get`` say: phase, why, and pods."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import at, observing, pod, record, reply, running_status, stored

from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import Outcome
from thunderhead_operator.cluster.memory import merged
from thunderhead_operator.plan.actions import WriteStatus
from thunderhead_operator.plan.decide import decide
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Manifest
from thunderhead_operator.plan.observed import Refusal, RefusalKind, Sample

CREATING = {k: v for k, v in running_status().items() if k != "podsCreatedAt"}


def after(status: dict[str, Any], now: float, *pods: Manifest, passes: int = 4, **observed: Any) -> TrainingJobStatus:
    """The status once all that these passes want is written."""
    job = stored(status)
    for _ in range(passes):
        actions = decide(job, observing(pods=pods, **observed), at(now)).actions
        if actions and isinstance(actions[0], WriteStatus):
            job["status"] = merged(job["status"], actions[0].patch)
    return TrainingJobStatus.model_validate(job["status"])


def starting(rank: int, **changes: Any) -> Manifest:
    return pod(rank, phase="Pending", **changes)


DONE = [pod(r, exit_code=0, record=record(r, Outcome.DONE, first_step=0, last_step=9)) for r in (0, 1)]
FAILED = [pod(r, phase="Failed", exit_code=78, record=record(r, Outcome.INVALID_CONFIGURATION)) for r in (0, 1)]
REFUSED = Refusal(Kind.POD, "digits-1-0", RefusalKind.FORBIDDEN, "exceeded quota")

ROWS: list[tuple[str, TrainingJobStatus, tuple[str, str | None, str]]] = [
    ("complete", after(running_status(), 5, *DONE), ("Complete", None, "2/2")),
    ("one has finished", after(running_status(), 5, DONE[0], pod(1)), ("Starting", "WaitingForPods", "2/2")),
    ("failed", after(running_status(), 5, *FAILED), ("Failed", "InvalidConfiguration", "0/2")),
    ("fails", after(running_status(), 5, *FAILED, passes=1), ("Pending", "InvalidConfiguration", "0/2")),
    ("refused", after(CREATING, 5, refusals=(REFUSED,)), ("Blocked", "QuotaExceeded", "0/2")),
    ("pods are made", after(running_status(), 5, starting(0), starting(1)), ("Starting", "WaitingForPods", "0/2")),
    ("agents are silent", after(running_status(), 5, pod(0), pod(1)), ("Starting", "WaitingForRanks", "2/2")),
    (
        "healthy",
        after(running_status(), 5, pod(0), pod(1), sample=Sample(reply(first_step=0, step=3), at(5))),
        ("Running", None, "2/2"),
    ),
    (
        "met before a probe has asked",
        after(running_status(), 5, pod(0, ready=False), pod(1, ready=False), sample=Sample(reply(), at(5))),
        ("Running", None, "2/2"),
    ),
    ("ends", after(running_status(), 5, pod(0), passes=1), ("Restarting", "PodDeleted", "1/2")),
]


@pytest.mark.parametrize(("status", "shown"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_row(status: TrainingJobStatus, shown: tuple[str, str | None, str]) -> None:
    assert (status.phase.value, status.reason, status.nodes.summary) == shown


MET_ONE = reply(ranks_met=1, missing_nodes=[1], phase="Rendezvous")
WAITS: dict[str, tuple[list[Manifest], dict[str, Any], str]] = {
    "young": (
        [pod(0), starting(1, node=None)],
        {"now": 5},
        "1 of 2 pods run; digits-1-1 (node rank 1): no node yet",
    ),
    "no node": (
        [pod(0), starting(1, node=None, unschedulable="no GPU")],
        {},
        "1 of 2 pods run; digits-1-1 (node rank 1): no node yet, no GPU",
    ),
    "image": (
        [pod(0), starting(1, waiting=("ContainerCreating", ""))],
        {},
        "1 of 2 pods run; digits-1-1 (node rank 1): ContainerCreating",
    ),
    "no answer": ([pod(0), pod(1)], {}, "all pods run, the agent of node rank 0 has not answered yet"),
    "one node": (
        [pod(0), pod(1)],
        {"sample": Sample(MET_ONE, at(5))},
        "1 of 2 ranks have met, node rank 0 is at Rendezvous; missing: node rank 1",
    ),
}


@pytest.mark.parametrize(("pods", "observed", "said"), list(WAITS.values()), ids=list(WAITS))
def test_what_is_awaited_is_named(pods: list[Manifest], observed: dict[str, Any], said: str) -> None:
    status = after(running_status(), observed.pop("now", 9), *pods, **observed)
    (running,) = [c for c in status.conditions if c.type == "Running"]
    assert running.message == said
