"""Writes the snapshot of Kubernetes' pod template that the CRD types ``spec.podTemplate`` with.

Source: the OpenAPI data in the PyPI package kubernetes-validate. Run after a new Kubernetes minor:
``.venv/bin/python tools/pod_template.py``. Prints nothing; the snapshot is crds/thunderhead_api/pod_template.json.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

KUBERNETES: Final = "1.36"
SNAPSHOT: Final = Path(__file__).resolve().parents[1] / "crds" / "thunderhead_api" / "pod_template.json"

OURS: Final = frozenset(
    {
        "activeDeadlineSeconds",  # spec.activeDeadlineSeconds
        "ephemeralContainers",  # refused by Kubernetes when a pod is created
        "hostname",  # <job>-<attempt>-<node rank>
        "hostnameOverride",
        "nodeName",  # the scheduler's to say; a nodeSelector or affinity asks for a node
        "restartPolicy",  # Never
        "serviceAccount",  # deprecated spelling of serviceAccountName
        "setHostnameAsFQDN",
        "subdomain",  # the job's Service
        "terminationGracePeriodSeconds",  # spec.terminationGracePeriodSeconds
    }
)
"""Fields of a pod's spec that the operator decides, or that are set in another place; not part of the template."""

METADATA: Final = {
    "type": "object",
    "properties": {
        kind: {"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string"}}
        for kind in ("labels", "annotations")
    },
}
LIST_MAX: Final = 256
MAP_MAX: Final = 256
_KEPT: Final = ("format", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type")


def snapshot() -> dict[str, Any]:
    """The structural schema of a pod template, ours to lay over the rendered one."""
    data = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local" / "_definitions.json"
    definitions: dict[str, Any] = json.loads(data.read_text())["$defs"]
    spec = _structural(definitions["io.k8s.api.core.v1.PodSpec"], definitions)
    spec["properties"] = {name: field for name, field in spec["properties"].items() if name not in OURS}
    spec.pop("required")  # a template that adds a toleration needs no container
    return {"type": "object", "properties": {"metadata": METADATA, "spec": spec}}


def _structural(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.endswith(".ObjectMeta"):
            return METADATA
        return _structural(definitions[name], definitions)
    if "oneOf" in schema:  # Quantity and IntOrString
        return {"x-kubernetes-int-or-string": True}
    found: dict[str, Any] = {"type": _type(schema)}
    found.update({key: schema[key] for key in _KEPT if key in schema})
    if "properties" in schema:
        found["properties"] = {name: _structural(field, definitions) for name, field in schema["properties"].items()}
    if "items" in schema:
        found |= {"items": _structural(schema["items"], definitions), "maxItems": LIST_MAX}
        _complete_keys(found)
    if isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = _structural(schema["additionalProperties"], definitions)
        found["maxProperties"] = MAP_MAX
    return found


def _type(schema: dict[str, Any]) -> str:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    (kind,) = (kind for kind in kinds if kind != "null")
    return str(kind)


def _complete_keys(listed: dict[str, Any]) -> None:
    """Every key of a list that merges by key must be required or have a default, or the API server refuses the CRD."""
    item = listed["items"]
    for key in listed.get("x-kubernetes-list-map-keys", ()):
        if key == "protocol":
            item["properties"][key]["default"] = "TCP"
        elif key not in item.get("required", ()):
            item["required"] = [*item.get("required", ()), key]


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(snapshot(), sort_keys=True, separators=(",", ":")) + "\n")
