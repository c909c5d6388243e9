"""The Kubernetes API as dictionaries, from nothing but a kubeconfig; every call has a deadline."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import urllib3
import yaml

Object = dict[str, Any]
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Resource:
    """A kind of object: where the API server keeps it."""

    prefix: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
        """URL path of the collection, of one object, or of one of its subresources."""
        parts = [self.prefix]
        parts += ["namespaces", namespace] if namespace is not None else []
        parts += [part for part in (self.plural, name, sub) if part is not None]
        return "/".join(parts)


JOBS: Final = Resource("/apis/thunderhead.dev/v1alpha1", "trainingjobs")
PODS: Final = Resource("/api/v1", "pods")
NODES: Final = Resource("/api/v1", "nodes")
SERVICES: Final = Resource("/api/v1", "services")
SECRETS: Final = Resource("/api/v1", "secrets")
CONFIG_MAPS: Final = Resource("/api/v1", "configmaps")
NAMESPACES: Final = Resource("/api/v1", "namespaces")
QUOTAS: Final = Resource("/api/v1", "resourcequotas")
EVENTS: Final = Resource("/apis/events.k8s.io/v1", "events")
NETWORK_POLICIES: Final = Resource("/apis/networking.k8s.io/v1", "networkpolicies")
DEPLOYMENTS: Final = Resource("/apis/apps/v1", "deployments")
DAEMON_SETS: Final = Resource("/apis/apps/v1", "daemonsets")
LEASES: Final = Resource("/apis/coordination.k8s.io/v1", "leases")


class ApiError(Exception):
    """The API server refused; `status` is its HTTP status."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: {status}: {message}")
        self.status = status
        self.message = message


class Api:
    """One client of one API server; may be shared by threads."""

    def __init__(self, kubeconfig: Path) -> None:
        server, context, headers = _read_kubeconfig(kubeconfig)
        self._server = server
        self._headers = headers
        self._pool = urllib3.PoolManager(
            maxsize=32, ssl_context=context, retries=False, timeout=urllib3.Timeout(connect=5, read=30)
        )

    def get(self, resource: Resource, namespace: str | None, name: str, sub: str | None = None) -> Object:
        """One object. Raises ApiError, of status 404 where it does not exist."""
        return self._json("GET", resource.path(namespace, name, sub))

    def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object, or None where it does not exist."""
        try:
            return self.get(resource, namespace, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> list[Object]:
        """All objects of a namespace (or of all of them) that a label selector matches."""
        return list(self._list(resource, namespace, labels)["items"])

    def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        return self._json("POST", resource.path(namespace), body)

    def rehearse(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        """A create of which everything is done but the storing."""
        return self._json("POST", resource.path(namespace), body, query={"dryRun": "All"})

    def replace(
        self, resource: Resource, namespace: str | None, name: str, body: Object, sub: str | None = None
    ) -> Object:
        return self._json("PUT", resource.path(namespace, name, sub), body)

    def patch(
        self, resource: Resource, namespace: str | None, name: str, body: Object, sub: str | None = None
    ) -> Object:
        """A merge patch."""
        return self._json("PATCH", resource.path(namespace, name, sub), body, content_type=MERGE_PATCH)

    def apply(self, resource: Resource, namespace: str | None, body: Object, *, manager: str = "e2e") -> Object:
        """Server-side apply."""
        path = resource.path(namespace, body["metadata"]["name"])
        return self._json("PATCH", path, body, content_type=APPLY_PATCH, query={"fieldManager": manager})

    def delete(self, resource: Resource, namespace: str | None, name: str, *, grace_s: int | None = None) -> None:
        """Asks for deletion; an object that is gone already is as good. `grace_s=0` is `--force`."""
        query = {} if grace_s is None else {"gracePeriodSeconds": str(grace_s)}
        try:
            self._json("DELETE", resource.path(namespace, name), query={"propagationPolicy": "Background", **query})
        except ApiError as error:
            if error.status != 404:
                raise

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Body of any GET, such as a log or, through the API server's proxy, a pod's own HTTP server."""
        return self._send("GET", path, query=query).data.decode(errors="replace")

    def watch(
        self, resource: Resource, namespace: str | None, *, name: str = "", labels: str = "", timeout_s: int = 60
    ) -> Iterator[tuple[str, Object]]:
        """What there is, as ADDED, then every change as (type, object), until the server ends it after `timeout_s`."""
        listed = self._list(resource, namespace, labels)
        for item in listed["items"]:
            if not name or item["metadata"]["name"] == name:
                yield "ADDED", item
        query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
        query |= {"timeoutSeconds": str(timeout_s), "labelSelector": labels}
        query |= {"fieldSelector": f"metadata.name={name}"} if name else {}
        for line in self.lines(resource.path(namespace), query, read_timeout_s=timeout_s + 10):
            event = json.loads(line)
            yield event["type"], event["object"]

    def lines(self, path: str, query: Mapping[str, str], *, read_timeout_s: float) -> Iterator[str]:
        """The lines of a response as they come, such as those of a followed log."""
        response = self._send("GET", path, query=query, stream=True, read_timeout_s=read_timeout_s)
        rest = b""
        try:
            for chunk in response.stream(65536):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
        finally:
            response.close()

    def _list(self, resource: Resource, namespace: str | None, labels: str) -> Object:
        return self._json("GET", resource.path(namespace), query={"labelSelector": labels})

    def _json(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        found: Object = json.loads(self._send(method, path, body, content_type=content_type, query=query).data)
        return found

    def _send(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        stream: bool = False,
        read_timeout_s: float = 30,
    ) -> urllib3.BaseHTTPResponse:
        url = self._server + path + (f"?{urlencode(query)}" if query else "")
        response = self._pool.request(
            method,
            url,
            body=json.dumps(body).encode() if body is not None else None,
            headers={**self._headers, "Content-Type": content_type},
            preload_content=not stream,
            timeout=urllib3.Timeout(connect=5, read=read_timeout_s),
        )
        if response.status >= 400:
            raise ApiError(method, path, response.status, _message(response.data))
        return response


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]


def _read_kubeconfig(path: Path) -> tuple[str, ssl.SSLContext, dict[str, str]]:
    """Server, TLS settings and headers of the current context."""
    config = yaml.safe_load(path.read_text())
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    tls = ssl.create_default_context(cadata=_content(cluster, "certificate-authority", path).decode())
    if "client-certificate" in user or "client-certificate-data" in user:
        with tempfile.TemporaryDirectory() as directory:  # the ssl module reads them from files only
            certificate, key = Path(directory, "cert.pem"), Path(directory, "key.pem")
            certificate.write_bytes(_content(user, "client-certificate", path))
            key.write_bytes(_content(user, "client-key", path))
            tls.load_cert_chain(certificate, key)
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return cluster["server"], tls, headers


def _named(items: list[Object], name: str) -> Object:
    return next(item for item in items if item["name"] == name)


def _content(section: Object, key: str, kubeconfig: Path) -> bytes:
    encoded: str | None = section.get(f"{key}-data")
    return base64.b64decode(encoded) if encoded is not None else (kubeconfig.parent / section[key]).read_bytes()
