"""Events of ``events.k8s.io/v1``: what ``kubectl describe`` shows below a job."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from thunderhead_api.treaty import API_VERSION, KIND, MANAGED_BY
from thunderhead_operator.plan.actions import Notice
from thunderhead_operator.plan.objects import Manifest, Obj, section

_NOTE_MAX: Final = 1024  # bytes, by the API


def event_manifest(job: Obj, notice: Notice, now: datetime, index: int) -> Manifest:
    """The Event for a notice. Its name derives from the version of the job it is about, so that a repeated pass, which
    has to read again, cannot post it twice."""
    meta = section(job, "metadata")
    name, version = str(meta["name"]), str(meta.get("resourceVersion", "0"))
    note = notice.note.encode()[: _NOTE_MAX - 4].decode(errors="ignore")
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{version}.{index}", "namespace": str(meta["namespace"])},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": MANAGED_BY,
        "reportingInstance": "thunderhead-operator",
        "action": "Reconcile",
        "reason": notice.reason,
        "type": "Warning" if notice.warning else "Normal",
        "note": note if len(note) == len(notice.note) else note + "…",
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": str(meta["namespace"]),
            "name": name,
            "uid": str(meta["uid"]),
            "resourceVersion": version,
        },
    }
