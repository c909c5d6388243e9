"""What pods left behind: exit codes and termination records, from the last version that a watch saw of them."""

from __future__ import annotations

import json

from .api import Object
from .observe import trainer_status
from .run import Run


def last_version(run: Run, pod: str) -> Object:
    """The last version of a pod that was seen."""
    versions = [v.object for v in run.observer.pod_versions if v.object["metadata"]["name"] == pod]
    assert versions, f"pod {pod} was never seen"
    return versions[-1]


def terminated(run: Run, pod: str) -> Object:
    """The terminated state of a pod's trainer: exitCode, reason, message, finishedAt."""
    for version in reversed(run.observer.pod_versions):
        if version.object["metadata"]["name"] == pod:
            state: Object | None = trainer_status(version.object).get("state", {}).get("terminated")
            if state is not None:
                return state
    raise AssertionError(f"pod {pod} was never seen with its container terminated")


def record(run: Run, pod: str) -> Object:
    """The termination record of a pod, as its agent wrote it."""
    found: Object = json.loads(terminated(run, pod)["message"])
    return found
