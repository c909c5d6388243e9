"""A job that is gone or going, and a namespace that goes: nothing of it is worth waiting for."""

from __future__ import annotations

from collections.abc import Sequence

from thunderhead_api.treaty import KIND, Cause
from thunderhead_operator.plan.actions import DeleteChild
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Obj, items
from thunderhead_operator.plan.pods import view_pod


def farewell(name: str, uid: str | None, pods: Sequence[Obj], config: Config) -> tuple[DeleteChild, ...]:
    """Stop what still runs of the job ``name`` that is being deleted, or (``uid`` None) that is not there any more.
    Garbage collection grants its pods the grace of a checkpoint, which nobody will ever read."""
    stops: list[DeleteChild] = []
    for pod in pods:
        view = view_pod(pod)
        patient = view.deletion_due is None or (view.deletion_grace_s or 0) > config.survivor_grace_s
        if patient and not view.stopped and _is_owned(pod, name, uid):
            stops.append(DeleteChild(Kind.POD, view.name, view.uid, config.survivor_grace_s))
    return tuple(stops)


def asks_for_namespace(ctx: Context) -> bool:
    """Whether another attempt may follow pods that somebody deleted: whoever deletes a namespace does that first."""
    ending = ctx.status.ending
    if ending is None or ending.final or ending.cause is not Cause.POD_DELETED:
        return False
    return all(pod.stopped for pod in ctx.pods)


def _is_owned(pod: Obj, name: str, uid: str | None) -> bool:
    return any(
        owner.get("controller")
        and owner.get("kind") == KIND
        and owner.get("name") == name
        and uid in (None, owner.get("uid"))
        for owner in items(pod, "metadata", "ownerReferences")
    )
