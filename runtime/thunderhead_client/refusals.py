"""What an API server's answer of 400 and more means to who asked."""

from __future__ import annotations

import json
from typing import Any, Final

from thunderhead_client.errors import (
    ClientError,
    ClusterUnreachable,
    JobExists,
    JobNotFound,
    NotAllowed,
    NotInstalled,
    ObjectNotFound,
    Refused,
)
from thunderhead_client.resources import JOBS, Resource

_VERBS: Final = {"GET": "read", "POST": "create", "PATCH": "change", "PUT": "change", "DELETE": "delete"}


def refusal(
    status: int, data: bytes, *, verb: str, resource: Resource, namespace: str | None, name: str | None
) -> ClientError:
    """The error for an answer to a call."""
    body = _body(data)
    said = str(body.get("message") or f"HTTP {status}")
    whose = f"{resource.kind} {name!r}" if name else resource.kind
    where = f" in namespace {namespace!r}" if namespace else ""
    if status in (401, 403):
        remedy = "log in again" if status == 401 else f"ask for the right to {_VERBS[verb]} {resource.plural}{where}"
        remedy += "; kubectl auth can-i --list says which rights you have"
        return NotAllowed(resource.kind, name, said, remedy, status=status)
    if status in (404, 410):
        return _not_found(said, body, resource, where, name)
    if status == 409 and body.get("reason") == "AlreadyExists":
        return JobExists(
            resource.kind, name, f"exists already{where}", "choose another name, or delete it", status=status
        )
    if status >= 500 or status == 429:
        return ClusterUnreachable(
            "the API server", None, f"cannot answer now (HTTP {status}): {said}", "try again", status=status
        )
    return Refused(whose, None, f"the API server refuses it: {said}", status=status)


def _not_found(said: str, body: dict[str, Any], resource: Resource, where: str, name: str | None) -> ClientError:
    named = name is not None and (name in said or (body.get("details") or {}).get("name") == name)
    if resource == JOBS and not named:
        rule, remedy = "this cluster knows no TrainingJobs", "install the chart (docs/install.md)"
        return NotInstalled("TrainingJob", name, rule, remedy, status=404)
    if resource == JOBS:
        remedy = "thunderhead list shows those there are (-A: of all namespaces)"
        return JobNotFound("TrainingJob", name, f"there is none{where}", remedy, status=404)
    return ObjectNotFound(resource.kind, name, f"there is none{where}", status=404)


def _body(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace").strip()[:500]}
    return found if isinstance(found, dict) else {}
