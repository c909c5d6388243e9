"""Carrying out a decision: preconditions on everything, and a word for the next pass about what was refused."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from thunderhead_api.treaty import KEY_BYTES
from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from thunderhead_operator.cluster.events import event_manifest
from thunderhead_operator.cluster.gather import gather
from thunderhead_operator.plan.actions import (
    Action,
    CreateChild,
    CreateKey,
    DeleteChild,
    DeleteJob,
    Notice,
    Rehearse,
    RenewChild,
    WriteStatus,
)
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Manifest, Obj, name_of, owner_uid, section, uid_of
from thunderhead_operator.plan.observed import Refusal, RefusalKind, Rehearsal, is_quota

_log = logging.getLogger(__name__)
_AT_ONCE = 16  # concurrent calls per job; more only moves the queue into the API server


@dataclass(frozen=True)
class Performed:
    """What came of a decision. ``job``: as it is after its status was written; None where that was not asked for."""

    job: Obj | None = None
    acted: bool = False
    refusals: tuple[Refusal, ...] = ()
    rehearsal: Rehearsal | None = None


async def perform(
    api: ClusterApi, job: Obj, actions: Sequence[Action], random: Callable[[int], bytes] = secrets.token_bytes
) -> Performed:
    """Do what the decision asks for, except telling of it (:func:`post`). A repeated call does no harm: creates meet
    what they made, deletes what is gone.

    Raises:
        ApiError: something failed that another pass must see to; whether it took effect the next read will tell.
    """
    writes = [a for a in actions if isinstance(a, WriteStatus)]
    if writes:
        written = await api.patch_job_status(*_key(job), writes[0].patch, writes[0].resource_version)
        return Performed(job=written)
    refusals: list[Refusal] = []
    children = [a for a in actions if isinstance(a, CreateChild)]
    deletes = [a for a in actions if isinstance(a, DeleteChild | DeleteJob)]
    renewals = [a for a in actions if isinstance(a, RenewChild)]
    unrenewed: list[Refusal] = []  # apart: no reason to make no pods
    # A pod whose ConfigMap is not there yet would wait for its kubelet's next try.
    first = [partial(_create, api, job, a, refusals) for a in children if a.kind is not Kind.POD]
    first += [partial(_renew, api, job, a, unrenewed) for a in renewals]
    await _each([*first, *(partial(_delete, api, job, a) for a in deletes)])
    keys = [a for a in actions if isinstance(a, CreateKey)]
    await _each([partial(_create_key, api, job, a, random, refusals) for a in keys], stop=lambda: bool(refusals))
    if not refusals:
        pods = [partial(_create, api, job, a, refusals) for a in children if a.kind is Kind.POD]
        await _each(pods, stop=lambda: bool(refusals))
    question = next((a for a in actions if isinstance(a, Rehearse)), None)
    answer = await _rehearse(api, job, question) if question else None
    acted = bool(children or keys or deletes or renewals)
    return Performed(acted=acted, refusals=(*refusals, *unrenewed), rehearsal=answer)


async def post(api: ClusterApi, job: Obj, actions: Sequence[Action], now: datetime) -> None:
    """Post the notices of a decision whose status was written; at best effort, for status says the same."""
    for index, notice in enumerate(a for a in actions if isinstance(a, Notice)):
        try:
            await api.post_event(_key(job)[0], event_manifest(job, notice, now, index))
        except ApiError as error:
            _log.warning("event %s of %s/%s was not posted: %s", notice.reason, *_key(job), error)


async def _create(api: ClusterApi, job: Obj, action: CreateChild, refusals: list[Refusal]) -> None:
    name = name_of(action.manifest)
    try:
        await api.create_child(action.kind, _key(job)[0], action.manifest)
    except AlreadyExists:
        refusal = await _whose(api, job, action.kind, name)
    except Forbidden as error:
        refusal = Refusal(action.kind, name, RefusalKind.FORBIDDEN, str(error))
    except Invalid as error:
        refusal = Refusal(action.kind, name, RefusalKind.INVALID, str(error))
    else:
        return
    if refusal is not None:
        refusals.append(refusal)


async def _renew(api: ClusterApi, job: Obj, action: RenewChild, refusals: list[Refusal]) -> None:
    """Read first, so that what others have written beside ours is kept, and written only if nobody was faster."""
    namespace, name = _key(job)[0], name_of(action.manifest)
    try:
        found = await api.get_child(action.kind, namespace, name)
        if owner_uid(found) == uid_of(job):
            await api.replace_child(action.kind, namespace, name, _renewed(found, action.manifest))
            _log.info("%s %s/%s: renewed", action.kind, namespace, name)
    except NotFound:
        return
    except Forbidden as error:
        refusals.append(Refusal(action.kind, name, RefusalKind.FORBIDDEN, str(error), renewal=True))
    except Invalid as error:
        refusals.append(Refusal(action.kind, name, RefusalKind.INVALID, str(error), renewal=True))


def _renewed(found: Obj, manifest: Manifest) -> Manifest:
    before, now = section(found, "metadata"), manifest["metadata"]
    ours = {part: {**section(before, part), **now.get(part, {})} for part in ("labels", "annotations")}
    return {**manifest, "metadata": {**before, **ours}}


async def _rehearse(api: ClusterApi, job: Obj, question: Rehearse) -> Rehearsal:
    """The first refusal counts. A quota says nothing yet: what fills it may be the attempt that is to make room."""
    for child in question.children:
        name = name_of(child.manifest)
        try:
            await api.rehearse_child(child.kind, _key(job)[0], child.manifest)
        except AlreadyExists:
            continue
        except Invalid as error:
            return Rehearsal(question.spec_hash, Refusal(child.kind, name, RefusalKind.INVALID, str(error)))
        except Forbidden as error:
            if not is_quota(str(error)):
                return Rehearsal(question.spec_hash, Refusal(child.kind, name, RefusalKind.FORBIDDEN, str(error)))
    return Rehearsal(question.spec_hash, None)


async def _create_key(
    api: ClusterApi, job: Obj, action: CreateKey, random: Callable[[int], bytes], refusals: list[Refusal]
) -> None:
    """The ConfigMap of the attempt owns its Secret, so both go together and no right to delete Secrets is needed."""
    namespace, name = _key(job)[0], name_of(action.manifest)
    try:
        owner = await api.get_child(Kind.CONFIG_MAP, namespace, action.owner)
    except NotFound:
        refusals.append(Refusal(Kind.SECRET, name, RefusalKind.FORBIDDEN, f"ConfigMap {action.owner} is gone"))
        return
    reference = {"apiVersion": "v1", "kind": Kind.CONFIG_MAP.value, "name": action.owner, "uid": uid_of(owner)}
    key = random(KEY_BYTES).hex().encode("ascii")
    manifest = {
        **action.manifest,
        "metadata": {**action.manifest["metadata"], "ownerReferences": [reference]},
        "data": {action.key_name: base64.b64encode(key).decode("ascii")},
    }
    try:
        await api.create_child(Kind.SECRET, namespace, manifest)
    except AlreadyExists:
        return
    except Forbidden as error:
        refusals.append(Refusal(Kind.SECRET, name, RefusalKind.FORBIDDEN, str(error)))
    except Invalid as error:
        refusals.append(Refusal(Kind.SECRET, name, RefusalKind.INVALID, str(error)))


async def _whose(api: ClusterApi, job: Obj, kind: Kind, name: str) -> Refusal | None:
    """None if the object of that name is ours (an earlier try that nobody heard the answer of) or gone again."""
    try:
        found = await api.get_child(kind, _key(job)[0], name)
    except NotFound:
        return None
    owner = owner_uid(found)
    if owner == uid_of(job):
        return None
    going = "is being removed" if "deletionTimestamp" in section(found, "metadata") else "has to go first"
    whose = "belongs to nobody" if owner is None else f"belongs to the owner of uid {owner}"
    return Refusal(kind, name, RefusalKind.TAKEN, f"an object of that name exists, {whose} and {going}")


async def _delete(api: ClusterApi, job: Obj, action: DeleteChild | DeleteJob) -> None:
    namespace, name = _key(job)
    try:
        if isinstance(action, DeleteJob):
            await api.delete_job(namespace, name, action.uid)
        else:
            await api.delete_child(action.kind, namespace, action.name, action.uid, action.grace_s)
    except (NotFound, Conflict) as gone:
        # Gone, or the name belongs to another object by now: either way ours is not there.
        _log.debug("delete in %s/%s: %s", namespace, name, gone)


async def _each(calls: Sequence[Callable[[], Awaitable[None]]], stop: Callable[[], bool] = lambda: False) -> None:
    """All calls, some at a time, none begun once ``stop()``; the first error is raised when all begun have ended."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            if not stop():
                await call()

    await gather(one(call) for call in calls)


def _key(job: Obj) -> tuple[str, str]:
    meta = section(job, "metadata")
    return str(meta["namespace"]), str(meta["name"])
