"""Builders of what a decision sees: a job with its status, and pods in every state they can be in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from op_world import NAME, NAMESPACE, START, job

from thunderhead_api.messages import Culprit, StatusReply, TerminationRecord
from thunderhead_api.names import pod_name
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.spec_hash import spec_hash
from thunderhead_api.treaty import CONTAINER, EXIT_CODE_OF, Annotation, Label, Outcome
from thunderhead_operator.plan.clock import stamp
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.context import Context, Job
from thunderhead_operator.plan.half_made import make_of
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Manifest
from thunderhead_operator.plan.observed import Observed, Sample

UID = "uid-job"
OWNER = [{"uid": UID, "controller": True, "kind": "TrainingJob", "name": NAME}]


def at(seconds: float) -> datetime:
    """A moment of the test, in seconds from its start."""
    return START + timedelta(seconds=seconds)


def stored(status: Mapping[str, Any] | None = None, **spec: Any) -> Manifest:
    """A job as the API server has it."""
    made = job(**spec)
    made["metadata"] |= {"uid": UID, "generation": 1, "resourceVersion": "7"}
    if status is not None:
        made["status"] = dict(status)
    return made


def running_status(**changes: Any) -> dict[str, Any]:
    """Attempt 1 of two nodes has begun at the start of the test and all its pods were seen."""
    spec = TrainingJobSpec.model_validate(job()["spec"])
    base = {
        "attempt": 1,
        "attemptStartedAt": stamp(START),
        "podsCreatedAt": stamp(START),
        "startedAt": stamp(START),
        "specHash": spec_hash(spec),
        "nodes": {"ready": 0, "total": 2, "summary": "0/2"},
    }
    return base | changes


def pod(
    rank: int,
    *,
    attempt: int = 1,
    phase: str = "Running",
    node: str | None = "",
    exit_code: int | None = None,
    record: TerminationRecord | None = None,
    reason: str = "",
    container_reason: str = "Error",
    disruption: str | None = None,
    deleted_at: float | None = None,
    grace_s: int = 30,
    ready: bool | None = None,
    silent_node: bool = False,
    waiting: tuple[str, str] | None = None,
    unschedulable: str | None = None,
    message: str = "",
    make: str | None = "",
) -> Manifest:
    """A pod of ours; ``deleted_at``: when its deletion was asked for; ``make``: None as operators of before left it."""
    name = pod_name(NAME, attempt, rank)
    meta: Manifest = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "ownerReferences": OWNER,
        "creationTimestamp": stamp(START),
        "labels": {Label.JOB.value: NAME, Label.ATTEMPT.value: str(attempt), Label.NODE_RANK.value: str(rank)},
        "annotations": {Annotation.MAKE.value: _make() if make == "" else make} if make is not None else {},
    }
    if deleted_at is not None:
        meta["deletionTimestamp"] = stamp(at(deleted_at + grace_s))
        meta["deletionGracePeriodSeconds"] = grace_s
    ended = exit_code is not None or record is not None
    is_ready = (phase == "Running" and not ended) if ready is None else ready
    conditions = [
        {"type": "Ready", "status": str(is_ready and not silent_node)},
        {"type": "ContainersReady", "status": str(is_ready)},
    ]
    if disruption:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": disruption})
    if unschedulable is not None:
        said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
        conditions.append(said)
    state: Manifest = {}
    if ended:
        code = int(EXIT_CODE_OF[record.outcome]) if record and exit_code is None else exit_code
        text = record.model_dump_json() if record else message
        state = {
            "terminated": {"exitCode": code, "reason": container_reason, "message": text, "finishedAt": stamp(at(0))}
        }
    elif waiting:
        state = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
    elif phase == "Running":
        state = {"running": {"startedAt": stamp(START)}}
    return {
        "metadata": meta,
        "spec": {"nodeName": f"node-{rank}" if node == "" else node},
        "status": {
            "phase": phase,
            "reason": reason,
            "podIP": "10.0.0.1",
            "conditions": conditions,
            "containerStatuses": [{"name": CONTAINER, "state": state, "ready": is_ready}],
        },
    }


def _make() -> str:
    """Of pods that an operator of the same settings made."""
    ctx = context()
    assert ctx.job.spec is not None
    return make_of(ctx, ctx.job.spec)


def record(rank: int, outcome: Outcome, culprit: Culprit | None = None, **more: Any) -> TerminationRecord:
    """The record of a pod of attempt 1."""
    return TerminationRecord(uid=UID, attempt=1, node_rank=rank, outcome=outcome, culprit=culprit, **more)


def reply(**changes: Any) -> StatusReply:
    """Node 0's answer in attempt 1: both ranks have met, nothing is trained yet."""
    base: dict[str, Any] = {
        "uid": UID,
        "attempt": 1,
        "node_rank": 0,
        "phase": "Train",
        "world_size": 2,
        "ranks_met": 2,
    }
    return StatusReply(**(base | changes))


def context(
    status: Mapping[str, Any] | None = None,
    *pods: Manifest,
    now: float = 0.0,
    spec: Mapping[str, Any] | None = None,
    config: Config | None = None,
    sample: StatusReply | None = None,
    **observed: Any,
) -> Context:
    """What a rule of an attempt sees ``now`` seconds after the start."""
    taken = Sample(sample, at(now)) if sample else None
    made = stored(running_status() if status is None else status, **(spec or {}))
    return Context(Job.parse(made), observing(pods, sample=taken, **observed), at(now), config or Config())


def observing(pods: Sequence[Manifest] = (), config_maps: Sequence[Manifest] = (), **hints: Any) -> Observed:
    """Children that are there, and hints."""
    return Observed(children={Kind.POD: tuple(pods), Kind.CONFIG_MAP: tuple(config_maps)}, **hints)
