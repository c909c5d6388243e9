"""A cluster in memory: the API server's rules that the operator relies on, and no more.

It plays API server for the crash exploration and, with real processes in the place of kubelets, for the local mode.
Resource versions and uids, preconditions, 404/409/422, garbage collection by owner, graceful deletion of pods, watches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from thunderhead_api.treaty import KIND, Label
from thunderhead_operator.cluster.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from thunderhead_operator.plan.clock import stamp
from thunderhead_operator.plan.kinds import TRAITS, Children, Kind, readable
from thunderhead_operator.plan.objects import Manifest, Obj

Watcher = Callable[[str, str, Obj], None]
"""Called with ``ADDED``, ``MODIFIED`` or ``DELETED``, the kind, and the object (the caller's own copy)."""

T = TypeVar("T")
_Key = tuple[str, str, str]
_EVENT, _LEASE = "Event", "Lease"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryCluster:
    """Implements ``ClusterApi``, and what users, kubelets and tests do to a cluster.

    Not for threads: everything happens in one event loop, and no call awaits anything, so each is atomic.
    """

    def __init__(self, now: Callable[[], datetime] = _utc_now) -> None:
        """``now``: the server's clock."""
        self._now = now
        self._objects: dict[_Key, Manifest] = {}
        self._version = 0
        self._uids = 0
        self._watchers: list[Watcher] = []
        self.going: set[str] = set()
        """Namespaces that are being deleted: what is in them changes and goes, nothing new comes."""

    # --- ClusterApi

    async def get_job(self, namespace: str, name: str) -> Obj:
        """See the protocol."""
        return self.get(KIND, namespace, name)

    async def list_jobs(self, namespace: str | None) -> Sequence[Obj]:
        """See the protocol."""
        return self.all(KIND, namespace)

    async def patch_job_status(self, namespace: str, name: str, patch: Mapping[str, Any], resource_version: str) -> Obj:
        """See the protocol."""
        found = self._find(KIND, namespace, name)
        if found["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(f"{KIND} {name} has changed since version {resource_version}")
        changed = copied(found)
        changed["status"] = merged(changed.get("status", {}), patch)
        return self._store("MODIFIED", changed)

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """See the protocol."""
        self.remove(KIND, namespace, name, uid)

    async def list_children(self, namespace: str, job: str) -> Children:
        """See the protocol."""

        def is_of_job(kind: Kind, meta: Obj) -> bool:
            name = TRAITS[kind].name
            return meta.get("labels", {}).get(Label.JOB) == job if name is None else bool(meta["name"] == name(job))

        found = {kind: self.all(kind, namespace) for kind in readable()}
        return {kind: tuple(o for o in objects if is_of_job(kind, o["metadata"])) for kind, objects in found.items()}

    async def list_labelled(self, kind: Kind, namespace: str | None) -> Sequence[Obj]:
        """See the protocol."""
        _check_right(kind)
        return [o for o in self.all(kind, namespace) if Label.JOB in o["metadata"].get("labels", {})]

    async def get_child(self, kind: Kind, namespace: str, name: str) -> Obj:
        """See the protocol."""
        _check_right(kind)
        return self.get(kind, namespace, name)

    async def create_child(self, kind: Kind, namespace: str, manifest: Manifest) -> Obj:
        """See the protocol."""
        return self.create({**manifest, "kind": kind.value}, namespace)

    async def rehearse_child(self, kind: Kind, namespace: str, manifest: Manifest) -> None:
        """See the protocol; what this API server looks at is that a kind and a name are there."""
        self._check_new({**manifest, "kind": kind.value}, namespace)

    async def replace_child(self, kind: Kind, namespace: str, name: str, manifest: Manifest) -> Obj:
        """See the protocol."""
        _check_right(kind)
        found = self._find(kind, namespace, name)
        if found["metadata"]["resourceVersion"] != manifest["metadata"].get("resourceVersion"):
            raise Conflict(f"{kind} {name} has changed")
        return self._store("MODIFIED", copied({**manifest, "kind": kind.value}))

    async def delete_child(self, kind: Kind, namespace: str, name: str, uid: str, grace_s: int | None) -> None:
        """See the protocol."""
        _check_right(kind)
        if kind is Kind.POD:
            self.delete_pod(namespace, name, uid=uid, grace_s=grace_s)
        else:
            self.remove(kind, namespace, name, uid)

    async def post_event(self, namespace: str, event: Manifest) -> None:
        """See the protocol."""
        self.create({**event, "kind": _EVENT}, namespace)

    async def get_lease(self, namespace: str, name: str) -> Obj:
        """See the protocol."""
        return self.get(_LEASE, namespace, name)

    async def create_lease(self, namespace: str, lease: Manifest) -> Obj:
        """See the protocol."""
        return self.create({**lease, "kind": _LEASE}, namespace)

    async def replace_lease(self, namespace: str, name: str, lease: Manifest) -> Obj:
        """See the protocol."""
        found = self._find(_LEASE, namespace, name)
        if found["metadata"]["resourceVersion"] != lease["metadata"].get("resourceVersion"):
            raise Conflict(f"Lease {name} has changed")
        changed = {**copied(found), "spec": copied(lease["spec"])}
        return self._store("MODIFIED", changed)

    # --- users, kubelets, tests

    def watch(self, watcher: Watcher) -> None:
        """Call ``watcher`` after every change from now on."""
        self._watchers.append(watcher)

    def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """A copy of one object.

        Raises:
            NotFound: there is none.
        """
        return copied(self._find(kind, namespace, name))

    def all(self, kind: str, namespace: str | None = None) -> list[Manifest]:
        """Copies of all objects of a kind, by namespace and name."""
        keys = sorted(key for key in self._objects if key[0] == kind and namespace in (None, key[1]))
        return [copied(self._objects[key]) for key in keys]

    def create(self, manifest: Obj, namespace: str | None = None) -> Manifest:
        """Create an object of any kind.

        Raises:
            AlreadyExists: the name is taken.
            Invalid: it has no kind, no name, or an owner that is gone.
        """
        created = self._check_new(manifest, namespace)
        meta = created["metadata"]
        self._uids += 1
        meta |= {"uid": f"uid-{self._uids}", "creationTimestamp": stamp(self._now()), "generation": 1}
        if created["kind"] == Kind.POD:
            created["status"] = {"phase": "Pending"}
        elif created["kind"] == KIND:
            created.pop("status", None)
        stored = self._store("ADDED", created)
        self._collect_orphan(stored)
        return stored

    def edit(self, kind: str, namespace: str, name: str, change: Callable[[Manifest], None]) -> Manifest:
        """Change an object in place as a user, scheduler or kubelet would; a changed spec raises the generation."""
        changed = copied(self._find(kind, namespace, name))
        before = copied(changed.get("spec"))
        change(changed)
        if changed.get("spec") != before:
            changed["metadata"]["generation"] += 1
        return self._store("MODIFIED", changed)

    def set_pod_status(self, namespace: str, name: str, status: Mapping[str, Any], node: str | None = None) -> Manifest:
        """Merge ``status`` into a pod's as its kubelet would, and bind it to ``node``."""

        def change(pod: Manifest) -> None:
            pod["status"] = merged(pod.get("status", {}), status)
            if node:
                pod.setdefault("spec", {})["nodeName"] = node

        return self.edit(Kind.POD, namespace, name, change)

    def delete_pod(self, namespace: str, name: str, *, uid: str | None = None, grace_s: int | None = None) -> None:
        """As the API server does: mark it and leave the rest to its kubelet (:meth:`confirm_deleted`), or remove it
        at once if the grace period is 0, or the pod is bound to no node or has stopped.

        Raises:
            NotFound: there is none.
            Conflict: it has another uid.
        """
        pod = self._find(Kind.POD, namespace, name)
        self._check_uid(pod, uid)
        own = int(pod.get("spec", {}).get("terminationGracePeriodSeconds", 30))
        wanted = own if grace_s is None else grace_s
        over = pod["status"].get("phase") in ("Succeeded", "Failed") or not pod.get("spec", {}).get("nodeName")
        if wanted == 0 or over:
            self._delete(self._key(pod))
            return
        meta = pod["metadata"]
        given = meta.get("deletionGracePeriodSeconds")
        if given is not None and given <= wanted:
            return
        asked = self._now() if given is None else _deleted_at(meta)
        changed = copied(pod)
        changed["metadata"]["deletionTimestamp"] = stamp(asked + timedelta(seconds=wanted))
        changed["metadata"]["deletionGracePeriodSeconds"] = wanted
        self._store("MODIFIED", changed)

    def confirm_deleted(self, namespace: str, name: str, uid: str) -> None:
        """The kubelet has stopped a pod that was marked: it goes."""
        key = (Kind.POD.value, namespace, name)
        pod = self._objects.get(key)
        if pod is not None and pod["metadata"]["uid"] == uid and "deletionTimestamp" in pod["metadata"]:
            self._delete(key)

    def remove(self, kind: str, namespace: str, name: str, uid: str | None = None) -> None:
        """Delete an object that needs no grace; what it owns follows.

        Raises:
            NotFound: there is none.
            Conflict: it has another uid.
        """
        found = self._find(kind, namespace, name)
        self._check_uid(found, uid)
        self._delete(self._key(found))

    # --- inside

    def _check_new(self, manifest: Obj, namespace: str | None) -> Manifest:
        """A copy of what is to be created, if it can be."""
        created: Manifest = copied(dict(manifest))
        meta = created.setdefault("metadata", {})
        if namespace:
            meta["namespace"] = namespace
        if meta.get("namespace") in self.going:
            raise Forbidden(f"unable to create new content in namespace {namespace} because it is being terminated")
        if not created.get("kind") or not meta.get("name"):
            raise Invalid("kind and metadata.name are required")
        if self._key(created) in self._objects:
            raise AlreadyExists(f"{created['kind']} {meta['name']} already exists")
        return created

    def _find(self, kind: str, namespace: str, name: str) -> Manifest:
        found = self._objects.get((str(kind), namespace, name))
        if found is None:
            raise NotFound(f'{kind} "{name}" not found in namespace {namespace}')
        return found

    @staticmethod
    def _key(obj: Obj) -> _Key:
        return str(obj["kind"]), obj["metadata"].get("namespace", ""), obj["metadata"]["name"]

    @staticmethod
    def _check_uid(obj: Obj, uid: str | None) -> None:
        if uid is not None and obj["metadata"]["uid"] != uid:
            raise Conflict(f"uid is {obj['metadata']['uid']}, not {uid}")

    def _store(self, event: str, obj: Manifest) -> Manifest:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self._objects[self._key(obj)] = obj
        self._tell(event, obj)
        return copied(obj)

    def _delete(self, key: _Key) -> None:
        obj = self._objects.pop(key)
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self._tell("DELETED", obj)
        self._collect(obj["metadata"]["uid"])

    def _tell(self, event: str, obj: Manifest) -> None:
        for watcher in self._watchers:
            watcher(event, str(obj["kind"]), copied(obj))

    def _collect(self, owner: str) -> None:
        """Garbage collection, at once: dependents of an owner that is gone go; pods with their grace."""
        for key, obj in list(self._objects.items()):
            if key in self._objects and any(r.get("uid") == owner for r in obj["metadata"].get("ownerReferences", [])):
                if key[0] == Kind.POD:
                    self.delete_pod(key[1], key[2])
                else:
                    self._delete(key)

    def _collect_orphan(self, obj: Manifest) -> None:
        owners = obj["metadata"].get("ownerReferences", [])
        alive = {o["metadata"]["uid"] for o in self._objects.values()}
        if owners and not any(reference.get("uid") in alive for reference in owners):
            self._collect(owners[0]["uid"])


def copied(value: T) -> T:
    """A copy of JSON that shares nothing with it; several times as fast as :func:`copy.deepcopy`."""
    copy: Any = value
    if isinstance(value, dict):
        copy = {key: copied(item) for key, item in value.items()}
    elif isinstance(value, list):
        copy = [copied(item) for item in value]
    return copy  # type: ignore[no-any-return]  # of the same shape


def merged(target: Any, patch: Any) -> Any:
    """``target`` with a JSON merge patch (RFC 7386) applied."""
    if not isinstance(patch, Mapping):
        return copied(patch)
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _check_right(kind: Kind) -> None:
    """As the chart's rules have it: Secrets can be created, and that is all."""
    if not TRAITS[kind].readable:
        raise Forbidden(f"{TRAITS[kind].api[1]} is forbidden: the operator may create them only")


def _deleted_at(meta: Obj) -> datetime:
    due = datetime.fromisoformat(str(meta["deletionTimestamp"]))
    return due - timedelta(seconds=int(meta["deletionGracePeriodSeconds"]))
