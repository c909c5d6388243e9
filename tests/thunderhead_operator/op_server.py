"""The memory cluster behind HTTP: enough of the Kubernetes API for our client and for kopf's watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from thunderhead_api.treaty import GROUP, KIND, PLURAL, VERSION
from thunderhead_operator.cluster.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound
from thunderhead_operator.cluster.memory import MemoryCluster, merged
from thunderhead_operator.plan.objects import Manifest, Obj

KINDS = {
    (f"apis/{GROUP}/{VERSION}", PLURAL): KIND,
    ("api/v1", "pods"): "Pod",
    ("api/v1", "configmaps"): "ConfigMap",
    ("api/v1", "services"): "Service",
    ("apis/networking.k8s.io/v1", "networkpolicies"): "NetworkPolicy",
    ("api/v1", "secrets"): "Secret",
    ("apis/coordination.k8s.io/v1", "leases"): "Lease",
    ("apis/events.k8s.io/v1", "events"): "Event",
}
CODES = {
    NotFound: (404, "NotFound"),
    AlreadyExists: (409, "AlreadyExists"),
    Conflict: (409, "Conflict"),
    Invalid: (422, "Invalid"),
}


class ApiServer:
    """``fail_next``: (status, headers) to answer the next request with, whatever it is."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.requests: list[tuple[str, str]] = []
        self.fail_next: list[tuple[int, dict[str, str], dict[str, Any]]] = []
        self.away: int | None = None
        self.raw_next: list[str] = []
        self.page = 500
        self.sent = 0
        self.watches: list[tuple[str, asyncio.Queue[tuple[str, Any]]]] = []
        self.past: list[tuple[str, str, Obj]] = []
        self.selectors: list[tuple[str, str]] = []
        cluster.watch(self._tell)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve on a free port; its URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()

    def break_watches(self, kind: str) -> None:
        """End every watch of a kind with an error that a client must list again for."""
        for watched, queue in self.watches:
            if watched == kind:
                gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
                queue.put_nowait(("ERROR", gone))

    def say(self, kind: str, line: bytes | None) -> None:
        """Send a line to every watch of a kind; None: cut it."""
        for watched, queue in self.watches:
            if watched == kind:
                queue.put_nowait(("RAW", line))

    def _tell(self, event: str, kind: str, obj: Obj) -> None:
        self.past.append((event, kind, obj))
        for watched, queue in self.watches:
            if watched == kind:
                queue.put_nowait((event, obj))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.requests.append((request.method, path))
        if self.away is not None:
            return web.json_response({"message": "away"}, status=self.away)
        if self.raw_next:
            return web.Response(text=self.raw_next.pop(0), content_type="application/json")
        if self.fail_next:
            status, headers, body = self.fail_next.pop(0)
            return web.json_response(body, status=status, headers=headers)
        if request.method == "GET" and (found := discovery(path)) is not None:
            return web.json_response(found)
        prefix, namespace, plural, name, sub = split(path)
        kind = KINDS[prefix, plural]
        try:
            if request.query.get("watch") == "true":
                return await self._watch(request, kind, namespace)
            body = await request.json() if request.can_read_body else {}
            answer = web.json_response(self._answer(request, kind, namespace, name, sub, body))
            self.sent += len(answer.text or "")
            return answer
        except ApiError as error:
            code, reason = CODES[type(error)]
            said = {"kind": "Status", "code": code, "reason": reason, "message": str(error)}
            return web.json_response(said, status=code)

    def _answer(
        self, request: web.Request, kind: str, namespace: str | None, name: str | None, sub: str | None, body: Manifest
    ) -> Any:
        cluster, place = self.cluster, (kind, namespace or "", name or "")
        match request.method:
            case "GET" if name:
                return shown(request, cluster.get(*place))
            case "GET":
                return self._list(request, kind, namespace)
            case "POST" if request.query.get("dryRun") == "All":
                return {}
            case "POST":
                return cluster.create({**body, "kind": kind}, namespace)
            case "PUT":
                return self._replace(place, body)
            case "PATCH":
                assert sub == "status"
                assert request.content_type == "application/merge-patch+json"
                return self._patch_status(place, body)
            case "DELETE":
                uid = body.get("preconditions", {}).get("uid")
                if kind == "Pod":
                    cluster.delete_pod(place[1], place[2], uid=uid, grace_s=body.get("gracePeriodSeconds"))
                else:
                    cluster.remove(*place, uid)
                return {"kind": "Status", "status": "Success"}
        raise AssertionError(request.method)

    def _patch_status(self, place: tuple[str, str, str], body: Manifest) -> Manifest:
        found = self.cluster.get(*place)
        version = body["metadata"]["resourceVersion"]
        if found["metadata"]["resourceVersion"] != version:
            raise Conflict(f"changed since {version}")

        def change(obj: Manifest) -> None:
            obj["status"] = merged(obj.get("status", {}), body["status"])

        return self.cluster.edit(*place, change)

    def _replace(self, place: tuple[str, str, str], body: Manifest) -> Manifest:
        if self.cluster.get(*place)["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Conflict("changed")

        def change(obj: Manifest) -> None:
            ours = {key: obj["metadata"][key] for key in ("uid", "creationTimestamp", "generation")}
            obj.update(spec=body["spec"], metadata={**body["metadata"], **ours})

        return self.cluster.edit(*place, change)

    def _list(self, request: web.Request, kind: str, namespace: str | None) -> Manifest:
        found = [o for o in self.cluster.all(kind, namespace) if selected(o, request.query.get("labelSelector"))]
        if "resourceVersion" in request.query and request.query["resourceVersion"] not in ("", "0"):
            raise AssertionError("a list is to be read live")
        start = int(request.query.get("continue") or 0)
        size = min(self.page, int(request.query.get("limit", self.page)))
        page = found[start : start + size]
        more = str(start + size) if start + size < len(found) else ""
        version = str(max((int(o["metadata"]["resourceVersion"]) for o in found), default=1))
        return {
            "kind": f"{kind}List",
            "metadata": {"resourceVersion": version, "continue": more},
            "items": [shown(request, item) for item in page],
        }

    async def _watch(self, request: web.Request, kind: str, namespace: str | None) -> web.StreamResponse:
        selector = request.query.get("labelSelector")
        self.selectors.append((kind, selector or ""))
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        since = int(request.query.get("resourceVersion") or 0)
        for event, what, obj in self.past:
            if what == kind and int(obj["metadata"]["resourceVersion"]) > since:
                queue.put_nowait((event, obj))
        self.watches.append((kind, queue))
        ends_at = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds", 3600))
        try:
            while True:
                try:
                    async with asyncio.timeout_at(ends_at):
                        event, obj = await queue.get()
                except TimeoutError:
                    return response
                if event == "RAW":
                    if obj is None:
                        return response
                    await response.write(obj + b"\n")
                    continue
                if event != "ERROR" and not (
                    selected(obj, selector) and namespace in (None, obj["metadata"]["namespace"])
                ):
                    continue
                told = obj if event == "ERROR" else shown(request, obj)
                await response.write(json.dumps({"type": event, "object": told}).encode() + b"\n")
                if event == "ERROR":
                    return response
        finally:
            self.watches.remove((kind, queue))


def shown(request: web.Request, obj: Obj) -> Obj:
    """Of whom only metadata are asked for."""
    return {"metadata": obj["metadata"]} if "as=PartialObjectMetadata" in request.headers.get("Accept", "") else obj


def selected(obj: Obj, selector: str | None) -> bool:
    if not selector:
        return True
    key, _, value = selector.partition("=")
    labels = obj["metadata"].get("labels", {})
    return key in labels and (not value or labels[key] == value)


def split(path: str) -> tuple[str, str | None, str, str | None, str | None]:
    """Prefix, namespace, plural, name, subresource."""
    parts = path.split("/")
    head = 2 if parts[0] == "api" else 3
    prefix, rest = "/".join(parts[:head]), parts[head:]
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    padded = [*rest, None, None]
    return prefix, namespace, str(rest[0]), padded[1], padded[2]


def discovery(path: str) -> Manifest | None:
    """What kopf asks before it watches."""
    groups = {f"{GROUP}": VERSION}
    resource = {"verbs": ["get", "list", "watch", "patch"], "namespaced": True}
    match path:
        case "version":
            return {"major": "1", "minor": "36"}
        case "api":
            return {"versions": ["v1"]}
        case "apis":
            versions = [{"groupVersion": f"{g}/{v}", "version": v} for g, v in groups.items()]
            return {"groups": [{"name": GROUP, "versions": versions, "preferredVersion": versions[0]}]}
        case "api/v1":
            pods = {"name": "pods", "kind": "Pod", "singularName": "pod", **resource}
            spaces = {"name": "namespaces", "kind": "Namespace", "singularName": "namespace", **resource}
            return {"resources": [pods, spaces | {"namespaced": False}]}
        case _ if path == f"apis/{GROUP}/{VERSION}":
            return {"resources": [{"name": PLURAL, "kind": KIND, "singularName": "trainingjob", **resource}]}
    return None
