"""Who was it, and of what? Every piece of evidence alone, and every echo beside the cause it echoes."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import at, context, pod, record, running_status

from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Cause, Outcome
from thunderhead_operator.plan.verdict import Pending, Verdict, verdict_of

Manifest = dict[str, Any]
RAISED = Culprit(rank=3, node_rank=1, reason="ValueError", message="bad batch", step=8)
KILLED = Culprit(rank=3, node_rank=1, signal="SIGKILL", reason="SIGKILL")
MEMORY = Culprit(rank=3, node_rank=1, reason="OutOfMemory", signal="SIGKILL")
EXITED = Culprit(rank=3, node_rank=1, reason="Exit", exit_code=42)
LOST = Culprit(node_rank=1, pod="digits-1-1", reason="AgentLost")

WELL = pod(0)
CASES: dict[str, tuple[list[Manifest], Cause, int]] = {
    "exception": ([pod(0), pod(1, record=record(1, Outcome.FAILED, RAISED))], Cause.PROCESS_FAILED, 1),
    "signal": ([pod(0), pod(1, record=record(1, Outcome.FAILED, KILLED))], Cause.PROCESS_KILLED, 1),
    "memory of a rank": ([pod(0), pod(1, record=record(1, Outcome.FAILED, MEMORY))], Cause.OUT_OF_MEMORY, 1),
    "exit code": ([pod(0), pod(1, record=record(1, Outcome.FAILED, EXITED))], Cause.PROCESS_FAILED, 1),
    "hang": ([pod(0), pod(1, record=record(1, Outcome.HUNG, RAISED))], Cause.HUNG, 1),
    "echo that names the rank": (
        [pod(0, record=record(0, Outcome.PEER_FAILED, RAISED)), pod(1)],
        Cause.PROCESS_FAILED,
        1,
    ),
    "echo and cause": (
        [pod(0, record=record(0, Outcome.PEER_FAILED, KILLED)), pod(1, record=record(1, Outcome.FAILED, KILLED))],
        Cause.PROCESS_KILLED,
        1,
    ),
    "wrong configuration": (
        [
            pod(0, record=record(0, Outcome.PEER_FAILED, RAISED)),
            pod(1, record=record(1, Outcome.INVALID_CONFIGURATION, RAISED)),
        ],
        Cause.INVALID_CONFIGURATION,
        1,
    ),
    "store refused": ([pod(0, record=record(0, Outcome.STORAGE_REFUSED)), pod(1)], Cause.STORAGE_REFUSED, 0),
    "superseded": ([pod(0, record=record(0, Outcome.SUPERSEDED)), pod(1)], Cause.SUPERSEDED, 0),
    "somebody sent a SIGTERM": ([pod(0, record=record(0, Outcome.STOPPED)), pod(1)], Cause.DRAINED, 0),
    "no record, exit 1": ([pod(0), pod(1, exit_code=1)], Cause.POD_FAILED, 1),
    "no record, exit 137": ([pod(0), pod(1, exit_code=137)], Cause.POD_FAILED, 1),
    "no record, exit 74": ([pod(0), pod(1, exit_code=74)], Cause.HUNG, 1),
    "no record, exit 78": ([pod(0), pod(1, exit_code=78)], Cause.INVALID_CONFIGURATION, 1),
    "container over its memory": (
        [pod(0), pod(1, exit_code=137, container_reason="OOMKilled")],
        Cause.OUT_OF_MEMORY,
        1,
    ),
    "node restarted": ([pod(0), pod(1, exit_code=255, container_reason="Unknown")], Cause.NODE_LOST, 1),
    "deleted": ([pod(0), pod(1, deleted_at=0)], Cause.POD_DELETED, 1),
    "gone": ([pod(0)], Cause.POD_DELETED, 1),
    "preempted": ([pod(0), pod(1, disruption="PreemptionByScheduler", deleted_at=0)], Cause.PREEMPTED, 1),
    "drained": ([pod(0), pod(1, disruption="EvictionByEvictionAPI", deleted_at=0)], Cause.DRAINED, 1),
    "tainted by an administrator": (
        [pod(0), pod(1, disruption="DeletionByTaintManager", deleted_at=0)],
        Cause.DRAINED,
        1,
    ),
    "node unreachable": (
        [pod(0), pod(1, disruption="DeletionByTaintManager", deleted_at=0, silent_node=True)],
        Cause.NODE_LOST,
        1,
    ),
    "node unreachable before the pod was ready": (
        [pod(0), pod(1, disruption="DeletionByTaintManager", deleted_at=0, ready=False)],
        Cause.NODE_LOST,
        1,
    ),
    "node object gone": ([pod(0), pod(1, disruption="DeletionByPodGC", deleted_at=0)], Cause.NODE_LOST, 1),
    "evicted for memory of the node": (
        [pod(0), pod(1, phase="Failed", reason="Evicted", ready=False)],
        Cause.EVICTED,
        1,
    ),
    "node shut down": ([pod(0), pod(1, phase="Failed", reason="Terminated", ready=False)], Cause.DRAINED, 1),
    "kubelet would not admit it": ([pod(0), pod(1, phase="Failed", reason="OutOfcpu", ready=False)], Cause.EVICTED, 1),
    "failed without a word": ([pod(0), pod(1, phase="Failed", ready=False)], Cause.POD_FAILED, 1),
    "deletion and its echo": (
        [
            pod(0, record=record(0, Outcome.FAILED, Culprit(rank=0, node_rank=0, reason="RuntimeError"))),
            pod(1, deleted_at=0),
        ],
        Cause.POD_DELETED,
        1,
    ),
    "gone and its echo": ([pod(0, record=record(0, Outcome.PEER_FAILED, LOST))], Cause.POD_DELETED, 1),
    "failed by itself, then deleted": (
        [pod(0), pod(1, record=record(1, Outcome.FAILED, RAISED), deleted_at=0)],
        Cause.PROCESS_FAILED,
        1,
    ),
    "lost by its peers, node silent": (
        [pod(0, record=record(0, Outcome.PEER_FAILED, LOST)), pod(1, silent_node=True)],
        Cause.NODE_LOST,
        1,
    ),
    "two echoes, nobody left to tell": (
        [pod(0, record=record(0, Outcome.PEER_FAILED, LOST)), pod(1, exit_code=69)],
        Cause.POD_FAILED,
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cause_and_culprit(name: str) -> None:
    pods, cause, node_rank = CASES[name]
    verdict = verdict_of(context(None, *pods))
    assert isinstance(verdict, Verdict)
    assert verdict.cause is cause
    assert verdict.culprit.node_rank == node_rank
    assert verdict.culprit.pod == f"digits-1-{node_rank}"


def test_nothing_is_wrong() -> None:
    assert verdict_of(context(None, pod(0), pod(1))) is None
    assert verdict_of(context(None, pod(0, record=record(0, Outcome.DONE)), pod(1))) is None
    assert verdict_of(context(None, pod(0, exit_code=0), pod(1))) is None


def test_a_silent_peer_gets_time_to_be_explained() -> None:
    pods = pod(0, record=record(0, Outcome.PEER_FAILED, LOST)), pod(1)
    verdict = verdict_of(context(None, *pods, now=20))
    assert verdict == Pending(at(60))
    late = verdict_of(context(None, *pods, now=60))
    assert isinstance(late, Verdict)
    assert (late.cause, late.culprit.pod) == (Cause.POD_FAILED, "digits-1-1")


def test_the_record_names_the_process_and_kubernetes_the_place() -> None:
    verdict = verdict_of(context(None, pod(0), pod(1, record=record(1, Outcome.FAILED, RAISED))))
    assert isinstance(verdict, Verdict)
    assert verdict.culprit == RAISED.model_copy(update={"pod": "digits-1-1", "node": "node-1"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"uid": "another"},
        {"attempt": 2},
        {"node_rank": 0},
        {"treaty": 99},
    ],
)
def test_a_record_of_something_else_is_none(wrong: dict[str, Any]) -> None:
    """The container's exit code decides then."""
    lie = record(1, Outcome.DONE).model_copy(update=wrong)
    verdict = verdict_of(context(None, pod(0), pod(1, record=lie, exit_code=1)))
    assert isinstance(verdict, Verdict)
    assert verdict.cause is Cause.POD_FAILED


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"outcome": "Sorry"}', "x" * 5000])
def test_a_message_that_is_no_record_is_shown_as_it_is(text: str) -> None:
    verdict = verdict_of(context(None, pod(0), pod(1, exit_code=1, message=text)))
    assert isinstance(verdict, Verdict)
    assert verdict.cause is Cause.POD_FAILED
    assert (verdict.culprit.message or "") in text


def test_a_missing_pod_is_no_loss_before_all_were_seen() -> None:
    creating = {k: v for k, v in running_status().items() if k != "podsCreatedAt"}
    assert verdict_of(context(creating, pod(0))) is None


def test_the_last_sight_of_a_pod_that_is_gone_tells() -> None:
    ghost = pod(1, record=record(1, Outcome.FAILED, MEMORY))
    verdict = verdict_of(context(None, pod(0), ghosts=(ghost,)))
    assert isinstance(verdict, Verdict)
    assert (verdict.cause, verdict.culprit.node) == (Cause.OUT_OF_MEMORY, "node-1")


def test_the_last_sight_of_a_running_pod_tells_where_it_was() -> None:
    verdict = verdict_of(context(None, pod(0), ghosts=(pod(1),)))
    assert isinstance(verdict, Verdict)
    assert (verdict.cause, verdict.culprit.node) == (Cause.POD_DELETED, "node-1")


def test_ranks_that_would_not_stop_are_an_echo_of_the_deletion() -> None:
    late = Culprit(rank=3, node_rank=1, signal="SIGKILL", reason="GracePeriodExceeded")
    verdict = verdict_of(context(None, pod(0), pod(1, record=record(1, Outcome.FAILED, late), deleted_at=0)))
    assert isinstance(verdict, Verdict)
    assert verdict.cause is Cause.POD_DELETED


def test_a_pod_that_finished_may_go() -> None:
    assert verdict_of(context(None, pod(0), ghosts=(pod(1, record=record(1, Outcome.DONE)),))) is None


@pytest.mark.parametrize(
    ("pods", "intact"),
    [
        ([pod(0), pod(1, deleted_at=0)], True),
        ([pod(0)], False),
        ([pod(0, exit_code=69), pod(1, deleted_at=0)], False),
        ([pod(0), pod(1, disruption="DeletionByTaintManager", deleted_at=0, silent_node=True)], False),
        ([pod(0), pod(1, exit_code=1)], False),
    ],
    ids=["deleted", "gone", "a peer failed already", "node lost", "failed"],
)
def test_a_checkpoint_can_be_agreed_on_while_all_are_there(pods: list[Manifest], intact: bool) -> None:
    verdict = verdict_of(context(None, *pods))
    assert isinstance(verdict, Verdict)
    assert verdict.intact is intact
