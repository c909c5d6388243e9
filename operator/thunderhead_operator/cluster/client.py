"""The real cluster: ``ClusterApi`` over ``kubernetes.aio``. The only module that imports the Kubernetes client.

Its generated classes are not used, only its configuration, authentication and transport: their models refuse answers
that do not fit them (a DELETE answered with a ``Status``), after the effect. Objects stay the JSON they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import aiohttp
from kubernetes.aio import client, config

from thunderhead_api.treaty import GROUP, PLURAL, VERSION, Label
from thunderhead_operator.cluster.api import Children
from thunderhead_operator.cluster.errors import Unavailable, error_for
from thunderhead_operator.cluster.gather import gather
from thunderhead_operator.plan.actions import Kind
from thunderhead_operator.plan.objects import Manifest, Obj, items, section

_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
_PAGE: Final = 500
_MERGE: Final = "application/merge-patch+json"
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_JOBS: Final = f"/apis/{GROUP}/{VERSION}", PLURAL
_LEASES: Final = "/apis/coordination.k8s.io/v1", "leases"
_EVENTS: Final = "/apis/events.k8s.io/v1", "events"
_CHILDREN: Final = {
    Kind.POD: ("/api/v1", "pods"),
    Kind.CONFIG_MAP: ("/api/v1", "configmaps"),
    Kind.SERVICE: ("/api/v1", "services"),
    Kind.NETWORK_POLICY: ("/apis/networking.k8s.io/v1", "networkpolicies"),
}
_Resource = tuple[str, str]
OnCall = Callable[[str, int], None]
"""Told of every call: its verb and the HTTP status, 0 where there was no answer."""


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
    return client.ApiClient(configuration)


class KubernetesCluster:
    """Implements :class:`~thunderhead_operator.cluster.api.ClusterApi`."""

    def __init__(self, api: client.ApiClient, on_call: OnCall = lambda verb, status: None) -> None:
        """``on_call``: for metrics."""
        self._api = api
        self._on_call = on_call

    async def close(self) -> None:
        """Close the connections."""
        await self._api.rest_client.close()

    async def get_job(self, namespace: str, name: str) -> Obj:
        """See the protocol."""
        return await self._call("GET", _JOBS, namespace, name)

    async def list_jobs(self, namespace: str | None) -> Sequence[Obj]:
        """See the protocol; metadata only, which is all that a resync reads."""
        return await self._list(_JOBS, namespace, accept=_METADATA_ONLY)

    async def patch_job_status(self, namespace: str, name: str, patch: Mapping[str, Any], resource_version: str) -> Obj:
        """See the protocol."""
        body = {"metadata": {"resourceVersion": resource_version}, "status": patch}
        return await self._call("PATCH", _JOBS, namespace, name, sub="status", body=body)

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """See the protocol."""
        body = _delete_options(uid) | {"propagationPolicy": "Background"}
        await self._call("DELETE", _JOBS, namespace, name, body=body)

    async def list_children(self, namespace: str, job: str) -> Children:
        """See the protocol: four reads at once."""
        selector = f"{Label.JOB}={job}"
        kinds = (Kind.POD, Kind.CONFIG_MAP, Kind.SERVICE, Kind.NETWORK_POLICY)
        calls = [self._list(_CHILDREN[kind], namespace, selector) for kind in kinds]
        pods, config_maps, services, policies = await gather(calls)
        return Children(tuple(pods), tuple(config_maps), tuple(services), tuple(policies))

    async def list_labelled(self, kind: Kind, namespace: str | None) -> Sequence[Obj]:
        """See the protocol; metadata only, which is all that a resync reads."""
        return await self._list(_CHILDREN[kind], namespace, Label.JOB.value, accept=_METADATA_ONLY)

    async def get_child(self, kind: Kind, namespace: str, name: str) -> Obj:
        """See the protocol."""
        return await self._call("GET", _CHILDREN[kind], namespace, name)

    async def create_child(self, kind: Kind, namespace: str, manifest: Manifest) -> Obj:
        """See the protocol."""
        return await self._call("POST", _CHILDREN[kind], namespace, body=manifest)

    async def delete_child(self, kind: Kind, namespace: str, name: str, uid: str, grace_s: int | None) -> None:
        """See the protocol."""
        body = _delete_options(uid) | ({} if grace_s is None else {"gracePeriodSeconds": grace_s})
        await self._call("DELETE", _CHILDREN[kind], namespace, name, body=body)

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

    async def _list(
        self, resource: _Resource, namespace: str | None, selector: str | None = None, accept: str | None = None
    ) -> list[Obj]:
        """All pages, read live: no ``resourceVersion``, so that the answer is not older than the question."""
        found: list[Obj] = []
        query = [("limit", str(_PAGE))] + ([("labelSelector", selector)] if selector else [])
        more: list[tuple[str, str]] = []
        while True:
            page = await self._call("GET", resource, namespace, query=[*query, *more], accept=accept)
            found.extend(items(page, "items"))
            token = section(page, "metadata").get("continue")
            if not token:
                return found
            more = [("continue", str(token))]

    async def _call(
        self,
        verb: str,
        resource: _Resource,
        namespace: str | None,
        name: str | None = None,
        *,
        sub: str | None = None,
        query: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str | None = None,
    ) -> Obj:
        """One request, bounded in time; its JSON, or an :class:`~.errors.ApiError`."""
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
            answer = await self._api.call_api(method, url, sent_headers, sent_body, _request_timeout=_TIMEOUT)
            status, text = answer.status, await answer.response.read()
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise Unavailable(f"{verb} {path}: {type(error).__name__}: {error}") from error
        finally:
            self._on_call(verb, status)
        return _checked(status, text, answer.headers)


def _checked(status: int, text: bytes, headers: Mapping[str, str]) -> Obj:
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    if 200 <= status < 300:
        return body if isinstance(body, Mapping) else {}
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
