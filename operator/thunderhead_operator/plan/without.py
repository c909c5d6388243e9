"""Fields that we render and the user does not want. The API server drops nulls of a template before we see it, and an
empty value is what many templates have by default; so they are named in an annotation of the pod template."""

from __future__ import annotations

from typing import Any

from thunderhead_api.pod_fields import unwanted_fields
from thunderhead_api.treaty import CONTAINER
from thunderhead_operator.plan.objects import Manifest


def without(rendered: Manifest, template: dict[str, Any]) -> Manifest:
    """``rendered``, the pod's spec, less what the template's annotation names; the template may write its own."""
    names = unwanted_fields(template)
    if not names:
        return rendered
    containers = [
        {key: value for key, value in container.items() if container["name"] != CONTAINER or key not in names}
        for container in rendered["containers"]
    ]
    return {key: value for key, value in rendered.items() if key not in names} | {"containers": containers}
