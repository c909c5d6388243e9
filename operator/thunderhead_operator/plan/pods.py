"""A pod as a decision sees it: what of its many fields bears on the life of an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from thunderhead_api.messages import TerminationRecord
from thunderhead_api.treaty import CONTAINER, TERMINATION_MAX_BYTES, TREATY_VERSION, Annotation, Label
from thunderhead_operator.plan.clock import parse_untrusted
from thunderhead_operator.plan.objects import Obj, int_label, items, name_of, section, uid_of
from thunderhead_operator.plan.placement import Unplaced, why_unplaced

_STOPPED_PHASES: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True)
class Terminated:
    """End of the container ``trainer`` as the kubelet reports it."""

    exit_code: int
    signal: int | None
    reason: str
    message: str
    finished_at: datetime | None


@dataclass(frozen=True)
class Waiting:
    """A container that cannot start, and why."""

    container: str
    reason: str
    message: str


@dataclass(frozen=True)
class PodView:
    """One pod, parsed."""

    name: str
    uid: str
    attempt: int
    node_rank: int
    node: str | None
    ip: str | None
    phase: str
    reason: str
    message: str
    deletion_due: datetime | None
    deletion_grace_s: int | None
    disruption: str | None  # reason of a true DisruptionTarget condition
    unplaced: Unplaced | None  # why it has no node
    created_at: datetime | None
    running_since: datetime | None
    ready: bool
    node_silent: bool
    waiting: Waiting | None
    terminated: Terminated | None
    record: TerminationRecord | None
    placed_at: datetime | None  # when it was given its node
    make: str | None  # by an operator of before there is none
    all_ended: bool  # every container has terminated; the kubelet reports the phase of that only a moment later

    @property
    def stopped(self) -> bool:
        """All of its containers have ended for good: it holds nothing and runs nothing."""
        return self.all_ended or self.phase in _STOPPED_PHASES

    @property
    def started(self) -> bool:
        """Its trainer has run."""
        return self.running_since is not None or self.terminated is not None

    @property
    def terminating(self) -> bool:
        """Somebody has asked for its deletion."""
        return self.deletion_due is not None


def view_pod(pod: Obj) -> PodView:
    """Read a pod's JSON."""
    meta, spec, status = section(pod, "metadata"), section(pod, "spec"), section(pod, "status")
    trainer = _trainer_status(status)
    state = section(trainer, "state")
    terminated = _terminated(section(state, "terminated")) if "terminated" in state else None
    conditions = {str(c.get("type")): c for c in items(status, "conditions")}
    grace = meta.get("deletionGracePeriodSeconds")
    return PodView(
        name=name_of(pod),
        uid=uid_of(pod),
        attempt=int_label(pod, Label.ATTEMPT),
        node_rank=int_label(pod, Label.NODE_RANK),
        node=spec.get("nodeName"),
        ip=status.get("podIP"),
        phase=str(status.get("phase", "Pending")),
        reason=str(status.get("reason", "")),
        message=str(status.get("message", "")),
        deletion_due=parse_untrusted(meta.get("deletionTimestamp")),
        deletion_grace_s=grace if isinstance(grace, int) else None,
        disruption=_true_reason(conditions.get("DisruptionTarget")),
        unplaced=why_unplaced(pod),
        created_at=parse_untrusted(meta.get("creationTimestamp")),
        running_since=parse_untrusted(section(state, "running").get("startedAt")),
        ready=_is_true(conditions.get("Ready")) if "Ready" in conditions else bool(trainer.get("ready")),
        node_silent=_node_silent(conditions),
        waiting=_waiting(status),
        terminated=terminated,
        record=_record(pod, terminated),
        placed_at=_placed_at(spec, conditions, parse_untrusted(meta.get("creationTimestamp"))),
        make=section(meta, "annotations").get(Annotation.MAKE),
        all_ended=_all_ended(spec, status),
    )


def is_silent(pod: Obj) -> bool:
    """Kubernetes says that the pod's node does not answer."""
    return _node_silent({str(c.get("type")): c for c in items(pod, "status", "conditions")})


def _placed_at(spec: Obj, conditions: dict[str, Obj], created_at: datetime | None) -> datetime | None:
    """Where nobody says when, at its creation."""
    if not spec.get("nodeName"):
        return None
    return parse_untrusted(conditions.get("PodScheduled", {}).get("lastTransitionTime")) or created_at


def _all_ended(spec: Obj, status: Obj) -> bool:
    """Nothing restarts in our pods, so containers that have all terminated have ended for good."""
    states = [section(c, "state") for c in items(status, "containerStatuses")]
    wanted = len(list(items(spec, "containers")))
    return 0 < wanted == len(states) and all("terminated" in state for state in states)


def _trainer_status(status: Obj) -> Obj:
    return next((c for c in items(status, "containerStatuses") if c.get("name") == CONTAINER), {})


def _terminated(state: Obj) -> Terminated:
    number = state.get("signal")
    return Terminated(
        exit_code=int(state.get("exitCode", 1)),
        signal=number if isinstance(number, int) and number > 0 else None,
        reason=str(state.get("reason", "")),
        message=str(state.get("message", "")),
        finished_at=parse_untrusted(state.get("finishedAt")),
    )


def _record(pod: Obj, terminated: Terminated | None) -> TerminationRecord | None:
    """The agent's record, if there is one of this very pod: text that its processes wrote, so anything may be in it."""
    if terminated is None or not 0 < len(terminated.message.encode()) <= TERMINATION_MAX_BYTES:
        return None
    try:
        record = TerminationRecord.model_validate_json(terminated.message)
    except ValidationError:
        return None
    owner = next((o.get("uid") for o in items(pod, "metadata", "ownerReferences") if o.get("controller")), None)
    said = (record.treaty, record.uid, record.attempt, record.node_rank)
    return record if said == (TREATY_VERSION, owner, *_numbers(pod)) else None


def _numbers(pod: Obj) -> tuple[int, int]:
    return int_label(pod, Label.ATTEMPT), int_label(pod, Label.NODE_RANK)


def _waiting(status: Obj) -> Waiting | None:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in items(status, kind):
            state = section(container, "state", "waiting")
            if state.get("reason"):
                return Waiting(str(container.get("name")), str(state["reason"]), str(state.get("message", "")))
    return None


def _is_true(condition: Obj | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def _true_reason(condition: Obj | None) -> str | None:
    return str(condition.get("reason", "")) if condition is not None and _is_true(condition) else None


def _node_silent(conditions: dict[str, Any]) -> bool:
    """The node controller sets ``Ready`` of a silent node's pods to False and leaves ``ContainersReady``. A kubelet
    reports one without the other only while a readiness gate is closed, and says so, so the pair tells who wrote it."""
    ready, containers = conditions.get("Ready"), conditions.get("ContainersReady")
    if ready is None or _is_true(ready) or not _is_true(containers):
        return False
    return bool(ready.get("reason") != "ReadinessGatesNotReady")
