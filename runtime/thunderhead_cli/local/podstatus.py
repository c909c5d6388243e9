"""Status of a pod as a kubelet would report it; pure."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import Any

from thunderhead_api.treaty import CONTAINER, TERMINATION_MAX_BYTES
from thunderhead_cli.local.launch import LOOPBACK

Status = dict[str, Any]


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes it."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def running(since: datetime, *, ready: bool) -> Status:
    """The agent has been started; ``ready`` once it answers."""
    state = {"running": {"startedAt": stamp(since)}}
    return _status("Running", state, since=since, ready=ready)


def terminated(since: datetime, until: datetime, *, exit_code: int, message: str) -> Status:
    """The agent has ended.

    Args:
        since: when it was started.
        until: when it ended.
        exit_code: 128 + signal for a death by signal.
        message: what the agent wrote into its termination file; a longer one is cut as a kubelet cuts it.
    """
    died_by = exit_code - 128 if exit_code - 128 in signal.valid_signals() else None
    state = {
        "terminated": {
            "exitCode": exit_code,
            **({"signal": int(died_by)} if died_by else {}),
            "reason": "Completed" if exit_code == 0 else "Error",
            "message": message.encode()[:TERMINATION_MAX_BYTES].decode(errors="ignore"),
            "startedAt": stamp(since),
            "finishedAt": stamp(until),
        }
    }
    return _status("Succeeded" if exit_code == 0 else "Failed", state, since=since, ready=False)


def cannot_start(reason: str, message: str) -> Status:
    """The container waits for something that is not there."""
    state = {"waiting": {"reason": reason, "message": message}}
    return _status("Pending", state, since=None, ready=False)


def _status(phase: str, state: dict[str, Any], *, since: datetime | None, ready: bool) -> Status:
    flag = str(ready)
    return {
        "phase": phase,
        "podIP": LOOPBACK,
        "hostIP": LOOPBACK,
        **({"startTime": stamp(since)} if since else {}),
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Initialized", "status": "True"},
            {"type": "ContainersReady", "status": flag},
            {"type": "Ready", "status": flag},
        ],
        "containerStatuses": [
            {"name": CONTAINER, "ready": ready, "restartCount": 0, "image": "", "imageID": "", "state": state}
        ],
    }
