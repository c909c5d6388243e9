"""Which fields of the rendered pod a template may do without, named in an annotation of the template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from thunderhead_api.treaty import Annotation

REMOVABLE: Final = ("affinity", "topologySpreadConstraints", "tolerations", "startupProbe", "readinessProbe")
"""The first three of the pod, the probes of the container ``trainer``; nothing that keeps a pod restricted."""


def unwanted_fields(template: Mapping[str, Any]) -> list[str]:
    """The names in the annotation, in order."""
    metadata = template.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    text = annotations.get(Annotation.WITHOUT) if isinstance(annotations, Mapping) else None
    return [name.strip() for name in text.split(",") if name.strip()] if isinstance(text, str) else []
