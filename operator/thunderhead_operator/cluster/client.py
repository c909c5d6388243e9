"""The real cluster: ``ClusterApi`` over ``kubernetes.aio``. The only module that imports the Kubernetes client.

Its generated classes are not used, only its configuration, authentication and transport: their models refuse answers
that do not fit them (a DELETE answered with a ``Status``), after the effect. Objects stay the JSON they are.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from kubernetes.aio import client, config

from thunderhead_api.treaty import GROUP, KIND, PLURAL, VERSION, Label
from thunderhead_operator.cluster.decode import decode, slim, without_history
from thunderhead_operator.cluster.errors import NotFound, TooLong, Unavailable, error_for
from thunderhead_operator.cluster.gather import gather
from thunderhead_operator.cluster.pace import Pace
from thunderhead_operator.cluster.stream import change_in, lines, read_within
from thunderhead_operator.plan.kinds import TRAITS, Children, Kind, readable
from thunderhead_operator.plan.objects import Manifest, Obj, items, section

_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
_STREAM: Final = aiohttp.ClientTimeout(total=None, connect=5, sock_read=75)  # the server says something once a minute
_STREAM_S: Final = 600  # a silent connection ends sometime, whatever else fails
_PAGE: Final = 250
_PAGE_BYTES: Final = 4 * 2**20
_ANSWER_BYTES: Final = 16 * 2**20
"""An object has at most 1.5 MiB in etcd; escaped it may be six times as long."""
_LIST_BYTES: Final = 64 * 2**20
_MERGE: Final = "application/merge-patch+json"
_METADATA: Final = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_JOBS: Final = f"/apis/{GROUP}/{VERSION}", PLURAL
_LEASES: Final = "/apis/coordination.k8s.io/v1", "leases"
_EVENTS: Final = "/apis/events.k8s.io/v1", "events"
_Resource = tuple[str, str]
OnCall = Callable[[str, int], None]
"""Told of every call: its verb and the HTTP status, 0 where there was no answer."""


def resource_of(kind: str) -> _Resource:
    """Prefix of the paths of a kind's API, and how that calls it."""
    return _JOBS if kind == KIND else TRAITS[Kind(kind)].api


async def load_client() -> client.ApiClient:
    """A client for the cluster this process runs in, else for the one of the kubeconfig. Needs a running event loop."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the library's
    except config.ConfigException:
        # Named here because the library reads the variable when it is imported.
        where = os.environ.get("KUBECONFIG") or None
        await config.load_kube_config(where, client_configuration=configuration)  # type: ignore[no-untyped-call]  # the library's
    return make_client(configuration)


def make_client(configuration: client.Configuration) -> client.ApiClient:
    """A client that never repeats a call: that is the queue's decision, after another look. (The library reads 0 as one
    more try after a 5xx; only None is none.)"""
    configuration.retries = None
    configuration.connection_pool_maxsize = 0  # no limit: watches hold theirs, and calls have a bound of their own
    return client.ApiClient(configuration)


class KubernetesCluster:
    """Implements :class:`~thunderhead_operator.cluster.api.ClusterApi`."""

    def __init__(
        self, api: client.ApiClient, on_call: OnCall = lambda verb, status: None, pace: Pace | None = None
    ) -> None:
        """``on_call``: for metrics; ``pace``: how many calls a second, none: as they come."""
        self._api = api
        self._on_call = on_call
        self._pace = pace or Pace(0, 1)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.rest_client.close()

    async def get_job(self, namespace: str, name: str) -> Obj:
        """See the protocol."""
        return await self._call("GET", _JOBS, namespace, name)

    async def list_jobs(self, namespace: str | None) -> Sequence[Obj]:
        """See the protocol; metadata only, which is all that a resync reads."""
        return (await self.list_metadata(KIND, namespace))[0]

    async def patch_job_status(self, namespace: str, name: str, patch: Mapping[str, Any], resource_version: str) -> Obj:
        """See the protocol."""
        body = {"metadata": {"resourceVersion": resource_version}, "status": patch}
        return await self._call("PATCH", _JOBS, namespace, name, sub="status", body=body)

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """See the protocol."""
        body = _delete_options(uid) | {"propagationPolicy": "Background"}
        await self._call("DELETE", _JOBS, namespace, name, body=body)

    async def list_children(self, namespace: str, job: str) -> Children:
        """See the protocol: a read of each kind, at once. Anyone may give objects our label, as many and as large as he
        likes; so only pods are read whole, and what has one name per job is read by it."""
        kinds = readable()
        found = await gather(self._children_of(kind, namespace, job) for kind in kinds)
        return {kind: tuple(objects) for kind, objects in zip(kinds, found, strict=True)}

    async def _children_of(self, kind: Kind, namespace: str, job: str) -> Sequence[Obj]:
        if (name := TRAITS[kind].name) is not None:
            return await self._find(kind, namespace, name(job))
        read = self._list_whole if kind is Kind.POD else self._list_bare
        return await read(kind, namespace, f"{Label.JOB}={job}")

    async def list_labelled(self, kind: Kind, namespace: str | None) -> Sequence[Obj]:
        """See the protocol; metadata only, which is all that a resync reads."""
        return (await self.list_metadata(kind, namespace))[0]

    async def list_metadata(self, kind: str, namespace: str | None) -> tuple[Sequence[Obj], str]:
        """Metadata of all jobs, or of all objects of another kind with our label; and the version to watch from."""
        return await self._list(resource_of(kind), namespace, None if kind == KIND else Label.JOB.value)

    async def watch(self, kind: str, namespace: str | None, version: str) -> AsyncGenerator[tuple[str, Obj, str]]:
        """Event, object and version of every change since ``version``, until the server ends it. Metadata only, but of
        pods what a verdict reads; event ``BOOKMARK`` tells of the version alone.

        Raises:
            ApiError: it is over for another reason; list again.
        """
        query = [("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", version)]
        query += [("timeoutSeconds", str(_STREAM_S))]
        query += [] if kind == KIND else [("labelSelector", Label.JOB.value)]
        accept, where = None if kind == Kind.POD else _METADATA, resource_of(kind)
        async with self._open("GET", where, namespace, query=query, accept=accept, limits=_STREAM) as answer:
            if answer.status != 200:
                await _checked(answer.status, await read_within(answer.content, _ANSWER_BYTES), answer.headers)
            async for line in lines(answer.content, _ANSWER_BYTES):
                yield await change_in(line, kind)

    async def get_child(self, kind: Kind, namespace: str, name: str) -> Obj:
        """See the protocol."""
        return await self._call("GET", resource_of(kind), namespace, name)

    async def create_child(self, kind: Kind, namespace: str, manifest: Manifest) -> Obj:
        """See the protocol."""
        return await self._call("POST", resource_of(kind), namespace, body=manifest)

    async def rehearse_child(self, kind: Kind, namespace: str, manifest: Manifest) -> None:
        """See the protocol: with ``dryRun`` the API server does all of it but the storing."""
        await self._call("POST", resource_of(kind), namespace, query=[("dryRun", "All")], body=manifest)

    async def replace_child(self, kind: Kind, namespace: str, name: str, manifest: Manifest) -> Obj:
        """See the protocol."""
        return await self._call("PUT", resource_of(kind), namespace, name, body=manifest)

    async def delete_child(self, kind: Kind, namespace: str, name: str, uid: str, grace_s: int | None) -> None:
        """See the protocol."""
        body = _delete_options(uid) | ({} if grace_s is None else {"gracePeriodSeconds": grace_s})
        await self._call("DELETE", resource_of(kind), namespace, name, body=body)

    async def post_event(self, namespace: str, event: Manifest) -> None:
        """See the protocol."""
        await self._call("POST", _EVENTS, namespace, body=event)

    async def get_lease(self, namespace: str, name: str) -> Obj:
        """See the protocol."""
        return await self._call("GET", _LEASES, namespace, name)

    async def create_lease(self, namespace: str, lease: Manifest) -> Obj:
        """See the protocol."""
        return await self._call("POST", _LEASES, namespace, body=lease)

    async def replace_lease(self, namespace: str, name: str, lease: Manifest) -> Obj:
        """See the protocol."""
        return await self._call("PUT", _LEASES, namespace, name, body=lease)

    async def _find(self, kind: Kind, namespace: str, name: str) -> list[Obj]:
        """Metadata of one child, if it is there."""
        try:
            return [slim(await self._call("GET", resource_of(kind), namespace, name, accept=_METADATA))]
        except NotFound:
            return []

    async def _list_bare(self, kind: Kind, namespace: str, selector: str) -> list[Obj]:
        return (await self._list(resource_of(kind), namespace, selector))[0]

    async def _list(self, resource: _Resource, namespace: str | None, selector: str | None) -> tuple[list[Obj], str]:
        """Metadata from all pages, and the version of the list."""
        found: list[Obj] = []
        version = ""
        async for page, _ in self._pages(resource, namespace, selector, _METADATA_LIST):
            found.extend(slim(item) for item in items(page, "items"))
            version = version or str(section(page, "metadata").get("resourceVersion", ""))
        return found, version

    async def _list_whole(self, kind: Kind, namespace: str, selector: str) -> list[Obj]:
        """What decisions read of whole objects, of each page before the next is asked for."""
        found: list[Obj] = []
        total = 0
        async for page, size in self._pages(resource_of(kind), namespace, selector, None):
            total += size
            if total > _LIST_BYTES:
                said = f"{kind} objects labelled {selector} in namespace {namespace} have more than {_LIST_BYTES} bytes"
                raise Unavailable(f"{said}; remove those that are no job's", retry_after_s=60.0)
            found.extend(slim(item, kind) for item in items(page, "items"))
        return found

    async def _pages(
        self, resource: _Resource, namespace: str | None, selector: str | None, accept: str | None
    ) -> AsyncIterator[tuple[Obj, int]]:
        """All pages and their sizes, read live: no ``resourceVersion``, so that the answer is not older than the
        question. A page that is too long is asked for again with fewer objects in it."""
        limit, token = _PAGE, ""
        while True:
            query = [("limit", str(limit))] + ([("labelSelector", selector)] if selector else [])
            query += [("continue", token)] if token else []
            most = _PAGE_BYTES if limit > 1 else _ANSWER_BYTES
            try:
                page, size = await self._exchange("GET", resource, namespace, query=query, accept=accept, most=most)
            except TooLong:
                if limit == 1:
                    raise
                limit = max(1, limit // 8)
                continue
            yield page, size
            token = str(section(page, "metadata").get("continue") or "")
            if not token:
                return

    async def _call(
        self, verb: str, resource: _Resource, namespace: str | None, name: str | None = None, **how: Any
    ) -> Obj:
        """One request, bounded in time and size; its JSON, or an :class:`~.errors.ApiError`."""
        body, _ = await self._exchange(verb, resource, namespace, name, **how)
        return without_history(body)

    async def _exchange(
        self,
        verb: str,
        resource: _Resource,
        namespace: str | None,
        name: str | None = None,
        *,
        most: int = _ANSWER_BYTES,
        **how: Any,
    ) -> tuple[Obj, int]:
        """One request; its JSON, and of how many bytes."""
        if resource != _LEASES:  # a renewal that waited behind a thousand reads would lose the lease
            await self._pace.turn()
        async with self._open(verb, resource, namespace, name, limits=_TIMEOUT, **how) as answer:
            text = await read_within(answer.content, most)
            status, headers = answer.status, answer.headers
        return await _checked(status, text, headers), len(text)

    @asynccontextmanager
    async def _open(
        self,
        verb: str,
        resource: _Resource,
        namespace: str | None,
        name: str | None = None,
        *,
        limits: aiohttp.ClientTimeout,
        sub: str | None = None,
        query: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one request, its body not read yet; whatever breaks while it is read is ``Unavailable``."""
        prefix, plural = resource
        parts = [prefix, *(("namespaces", "{namespace}") if namespace else ()), plural]
        path = "/".join([*parts, *(("{name}",) if name else ()), *((sub,) if sub else ())])
        headers = {"Accept": accept or "application/json", "User-Agent": "thunderhead-operator"}
        headers["Content-Type"] = _MERGE if verb == "PATCH" else "application/json"
        status = 0
        try:
            request = await self._api.param_serialize(
                verb,
                path,
                path_params={key: value for key, value in (("namespace", namespace), ("name", name)) if value},
                query_params=query or [],
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            method, url, sent_headers, sent_body, _ = request
            answer = await self._api.call_api(method, url, sent_headers, sent_body, _request_timeout=limits)
            status = answer.status
            async with answer.response as response:
                yield response
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise Unavailable(f"{verb} {path}: {type(error).__name__}: {error}") from error
        finally:
            self._on_call(verb, status)


async def _checked(status: int, text: bytes, headers: Mapping[str, str]) -> Obj:
    try:
        body = await decode(text)
    except ValueError:
        body = None
    if 200 <= status < 300:
        if isinstance(body, Mapping):
            return body
        raise Unavailable(f"HTTP {status} with {len(text)} bytes that are no JSON object")  # half an answer is none
    said = body if isinstance(body, Mapping) else {}
    wait = headers.get("Retry-After", "")
    raise error_for(
        status,
        str(said.get("reason", "")),
        str(said.get("message") or f"HTTP {status}"),
        float(wait) if wait.isdigit() else None,
    )


def _delete_options(uid: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
