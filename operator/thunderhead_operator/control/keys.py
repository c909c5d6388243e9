"""Which job an object belongs to."""

from __future__ import annotations

from thunderhead_api.treaty import KIND, Label
from thunderhead_operator.control.queue import Key
from thunderhead_operator.plan.objects import Obj, name_of, section


def job_key(kind: str, obj: Obj) -> Key | None:
    """The job that an object is or belongs to, by its label; None if none."""
    namespace = str(section(obj, "metadata").get("namespace", ""))
    name = name_of(obj) if kind == KIND else section(obj, "metadata", "labels").get(Label.JOB)
    return (namespace, str(name)) if name else None
