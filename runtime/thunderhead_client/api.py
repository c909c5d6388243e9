"""Objects of the API server as the JSON they are, over the official client's authentication and transport.

Its generated classes are not used: their models refuse what a newer cluster says, and of ours they know nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from thunderhead_client.connection import Connection
from thunderhead_client.errors import ClientError, ClusterUnreachable
from thunderhead_client.refusals import refusal
from thunderhead_client.resources import Resource

Obj = dict[str, Any]
MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
MANAGER: Final = "thunderhead"
"""Who owns fields that this client writes."""
_CONNECT_S: Final = 10.0
_READ_S: Final = 60.0
_PAGE: Final = 500
WATCH_S: Final = 300.0
"""After so long a server ends a watch, and it is begun again."""
_LATE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Api:
    """One cluster's API server.

    Attributes:
        connection: the way to it.
    """

    connection: Connection

    def get(self, resource: Resource, namespace: str | None, name: str, sub: str | None = None) -> Obj:
        """One object.

        Raises:
            ClientError: as for all calls; ``JobNotFound`` or ``ObjectNotFound`` where there is none.
        """
        return self._json("GET", resource, namespace, name, sub=sub)

    def all(self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Obj]:
        """All objects of a namespace (None: of all) that both selectors match."""
        return self.list_with_version(resource, namespace, labels=labels, fields=fields)[0]

    def list_with_version(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Obj], str]:
        """The same, and the version to watch from."""
        found: list[Obj] = []
        token, version = "", ""
        while True:
            query = {"limit": str(_PAGE), "labelSelector": labels, "fieldSelector": fields, "continue": token}
            page = self._json("GET", resource, namespace, query=_given(query))
            found += page["items"]
            meta = page.get("metadata") or {}
            version, token = version or str(meta.get("resourceVersion") or ""), str(meta.get("continue") or "")
            if not token:
                return found, version

    def create(self, resource: Resource, namespace: str | None, body: Mapping[str, Any]) -> Obj:
        """A new object."""
        return self._json("POST", resource, namespace, body=body, query={"fieldManager": MANAGER})

    def apply(self, resource: Resource, namespace: str | None, body: Mapping[str, Any], *, dry: bool = False) -> Obj:
        """Server-side apply, which takes fields over that others own; ``dry``: all of it but the storing."""
        query = {"fieldManager": MANAGER, "force": "true"} | ({"dryRun": "All"} if dry else {})
        return self._json(
            "PATCH", resource, namespace, body["metadata"]["name"], body=body, query=query, content_type=APPLY
        )

    def patch(self, resource: Resource, namespace: str | None, name: str, body: Mapping[str, Any]) -> Obj:
        """A merge patch."""
        return self._json(
            "PATCH", resource, namespace, name, body=body, query={"fieldManager": MANAGER}, content_type=MERGE
        )

    def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str | None = None) -> None:
        """Ask for deletion, of the very object where a uid is given; what it owns follows."""
        body: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        self._json("DELETE", resource, namespace, name, body=body | ({"preconditions": {"uid": uid}} if uid else {}))

    def text(self, resource: Resource, namespace: str, name: str, sub: str, query: Mapping[str, str]) -> str:
        """What a subresource that is no JSON says, such as a log."""
        answer = self._send("GET", resource, namespace, name, sub=sub, query=query)
        return bytes(answer.data).decode(errors="replace")

    def lines(
        self, resource: Resource, namespace: str, name: str, sub: str, query: Mapping[str, str], *, silence_s: float
    ) -> Iterator[str]:
        """Lines of such a subresource as they come.

        Raises:
            ClusterUnreachable: it broke off, or was silent for ``silence_s``.
        """
        yield from self._lines(resource, namespace, name, sub=sub, query=query, silence_s=silence_s)

    def changes(
        self,
        resource: Resource,
        namespace: str | None,
        version: str,
        *,
        labels: str = "",
        fields: str = "",
        seconds: float = WATCH_S,
    ) -> Iterator[tuple[str, Obj]]:
        """Type and object of every change since ``version``, until the server ends it; ``ERROR``: list again."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(max(1, round(seconds)))}
        query |= {"labelSelector": labels, "fieldSelector": fields, "allowWatchBookmarks": "true"}
        for line in self._lines(resource, namespace, query=_given(query), silence_s=seconds + _LATE_S):
            event = json.loads(line)
            yield event["type"], event["object"]

    def raw(self, path: str) -> Obj:
        """JSON of any other path."""
        return self._parsed("GET", path, self._request("GET", path, {}, {}, None, "application/json", _READ_S).data)

    def _json(self, verb: str, resource: Resource, namespace: str | None, name: str | None = None, **how: Any) -> Obj:
        answer = self._send(verb, resource, namespace, name, **how)
        return self._parsed(verb, resource.path(namespace, name), answer.data)

    @staticmethod
    def _parsed(verb: str, path: str, data: bytes) -> Obj:
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ClusterUnreachable("the API server", None, f"{verb} {path} was answered with no JSON object")
        return found

    def _lines(
        self,
        resource: Resource,
        namespace: str | None,
        name: str | None = None,
        *,
        sub: str | None = None,
        query: Mapping[str, str],
        silence_s: float,
    ) -> Iterator[str]:
        import urllib3

        answer = self._send("GET", resource, namespace, name, sub=sub, query=query, silence_s=silence_s)
        rest = b""
        try:
            for chunk in answer.stream(65536):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            if rest:
                yield rest.decode(errors="replace")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._silent(error) from error
        finally:
            answer.close()

    def _send(
        self,
        verb: str,
        resource: Resource,
        namespace: str | None,
        name: str | None = None,
        *,
        sub: str | None = None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        silence_s: float = _READ_S,
    ) -> Any:
        """The answer of urllib3, its body unread; an error of ours where it is none that was wanted."""
        places = {key: value for key, value in (("namespace", namespace), ("name", name)) if value}
        path = resource.path(namespace, name, sub)
        answer = self._request(verb, path, places, query or {}, body, content_type, silence_s)
        if answer.status >= 400:
            raise refusal(answer.status, answer.data, verb=verb, resource=resource, namespace=namespace, name=name)
        return answer

    def _request(
        self,
        verb: str,
        path: str,
        places: Mapping[str, str],
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        content_type: str,
        silence_s: float,
    ) -> Any:
        import urllib3
        from kubernetes.client import ApiException

        client = self.connection.client
        headers = {"Accept": "application/json, */*", "User-Agent": "thunderhead", "Content-Type": content_type}
        serialized = client.param_serialize(
            verb,
            path,
            path_params=dict(places),
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        method, url, sent_headers, sent_body, _ = serialized
        if content_type == APPLY:  # the library sends other types than JSON only as text
            sent_body = json.dumps(sent_body)
        try:
            answer = client.call_api(method, url, sent_headers, sent_body, _request_timeout=(_CONNECT_S, silence_s))
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._silent(error) from error
        return answer.response

    def _silent(self, error: Exception) -> ClientError:
        said = " ".join(str(getattr(error, "reason", None) or error).split())
        remedy = "see that it runs and that this machine reaches it (kubectl cluster-info)"
        return ClusterUnreachable("the API server", self.connection.server, f"gives no answer: {said}", remedy)


def _given(query: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in query.items() if value}
