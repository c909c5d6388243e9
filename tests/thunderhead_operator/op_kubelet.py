"""Scheduler and kubelets, scripted: each tick binds, starts, ends and removes pods of a memory cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from thunderhead_api.messages import CommittedCheckpoint, Culprit, TerminationRecord
from thunderhead_api.treaty import CONTAINER, EXIT_CODE_OF, Label, Outcome
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.plan.clock import stamp
from thunderhead_operator.plan.objects import Obj, owner_uid


@dataclass(frozen=True)
class End:
    """How a container ends; ``record`` None: with ``message``, or without a word."""

    exit_code: int
    record: TerminationRecord | None = None
    reason: str = "Error"
    message: str = ""


@dataclass(frozen=True)
class Pod:
    """What a script needs to know of a running pod."""

    name: str
    uid: str
    job_uid: str
    attempt: int
    rank: int
    age: int  # ticks since it began to run


Script = Callable[[Pod], End | None]


def view(pod: Obj, age: int = 0) -> Pod:
    labels = pod["metadata"]["labels"]
    return Pod(
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        job_uid=owner_uid(pod) or "",
        attempt=int(labels[Label.ATTEMPT]),
        rank=int(labels[Label.NODE_RANK]),
        age=age,
    )


def ends(
    pod: Pod,
    outcome: Outcome,
    culprit: Culprit | None = None,
    *,
    first: int = 0,
    last: int | None = None,
    checkpoint: int | None = None,
) -> End:
    """An end with a record, as the agent writes it."""
    record = TerminationRecord(
        uid=pod.job_uid,
        attempt=pod.attempt,
        node_rank=pod.rank,
        outcome=outcome,
        culprit=culprit,
        first_step=first,
        last_step=last,
        training_seconds=float((last or first) - first),
        checkpoint=None
        if checkpoint is None
        else CommittedCheckpoint(uri="s3://b/p", step=checkpoint, committed_at="2026-01-01T00:00:00Z"),
    )
    return End(int(EXIT_CODE_OF[outcome]), record, "Completed" if outcome is Outcome.DONE else "Error")


def done_after(ticks: int) -> Script:
    """Every pod finishes after so many ticks."""
    return lambda pod: ends(pod, Outcome.DONE, last=100) if pod.age >= ticks else None


@dataclass
class Kubelets:
    """All nodes of a cluster; pod of rank r runs on ``node-r`` unless that is dead."""

    cluster: MemoryCluster
    now: Callable[[], datetime]
    script: Script
    dead: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)  # pods that ignore SIGTERM
    held: bool = False  # the scheduler does nothing
    ages: dict[str, int] = field(default_factory=dict)  # ticks by uid

    def tick(self) -> None:
        """One second of every node."""
        for pod in self.cluster.all("Pod"):
            uid, node = pod["metadata"]["uid"], pod.get("spec", {}).get("nodeName")
            if node is None:
                self._bind(pod)
            elif node in self.dead:
                continue
            elif "deletionTimestamp" in pod["metadata"]:
                self._stop(pod)
            elif pod["status"]["phase"] == "Pending":
                self._start(pod)
            elif pod["status"]["phase"] == "Running":
                self.ages[uid] = self.ages.get(uid, 0) + 1
                end = self.script(view(pod, self.ages[uid]))
                if end is not None:
                    self.end(pod, end)

    def end(self, pod: Obj, end: End) -> None:
        """The container ends; the pod with it."""
        terminated: dict[str, Any] = {
            "exitCode": end.exit_code,
            "reason": end.reason,
            "finishedAt": stamp(self.now()),
            "message": end.record.model_dump_json() if end.record else end.message,
        }
        phase = "Succeeded" if end.exit_code == 0 else "Failed"
        self._set(pod, phase, {"terminated": terminated}, ready=False)

    def lose_node(self, node: str) -> None:
        """A power cut, up to what Kubernetes makes of it after its grace period: pods not ready, then evicted."""
        self.dead.add(node)
        for pod in self.cluster.all("Pod"):
            if pod.get("spec", {}).get("nodeName") == node:
                name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
                conditions = [
                    {"type": "Ready", "status": "False"},
                    {"type": "ContainersReady", "status": "True"},
                    {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"},
                ]
                self.cluster.set_pod_status(namespace, name, {"conditions": conditions})
                self.cluster.delete_pod(namespace, name)

    def _bind(self, pod: Obj) -> None:
        if self.held:
            return
        rank = int(pod["metadata"]["labels"][Label.NODE_RANK])
        node = f"node-{rank}" if f"node-{rank}" not in self.dead else f"spare-{rank}"
        self.cluster.set_pod_status(pod["metadata"]["namespace"], pod["metadata"]["name"], {}, node=node)

    def _start(self, pod: Obj) -> None:
        self._set(pod, "Running", {"running": {"startedAt": stamp(self.now())}}, ready=True)

    def _stop(self, pod: Obj) -> None:
        if pod["metadata"]["name"] in self.slow:
            return
        if pod["status"]["phase"] == "Running":
            self.end(pod, ends(view(pod), Outcome.STOPPED, last=50))
        self.cluster.confirm_deleted(pod["metadata"]["namespace"], pod["metadata"]["name"], pod["metadata"]["uid"])

    def _set(self, pod: Obj, phase: str, state: dict[str, Any], *, ready: bool) -> None:
        container = {"name": CONTAINER, "state": state, "ready": ready}
        conditions = [{"type": t, "status": str(ready)} for t in ("Ready", "ContainersReady")]
        self.cluster.set_pod_status(
            pod["metadata"]["namespace"],
            pod["metadata"]["name"],
            {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": [container], "conditions": conditions},
        )
