"""Asking an agent over HTTP, as the operator and a kubelet do."""

from __future__ import annotations

import asyncio
import http.client

from pydantic import ValidationError

from thunderhead_api.messages import StatusReply
from thunderhead_api.treaty import HEALTH_PATH, STATUS_MAX_BYTES, STATUS_TIMEOUT_SECONDS, status_target
from thunderhead_cli.local.launch import LOOPBACK


async def ask_status(port: int, *, uid: str, attempt: int) -> StatusReply | None:
    """What the agent on ``port`` says of itself, if it is of this attempt; None while there is no such answer."""
    body = await asyncio.to_thread(_get, port, status_target(uid, attempt))
    if body is None:
        return None
    try:
        return StatusReply.model_validate_json(body)
    except ValidationError:
        return None


async def is_healthy(port: int) -> bool:
    """Whether the agent on ``port`` answers its probe."""
    return await asyncio.to_thread(_get, port, HEALTH_PATH) is not None


def _get(port: int, path: str) -> bytes | None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=STATUS_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(STATUS_MAX_BYTES + 1)
    except (OSError, http.client.HTTPException):  # not up yet, or dying: the next look will tell
        return None
    finally:
        connection.close()
    return body if response.status == http.client.OK and len(body) <= STATUS_MAX_BYTES else None
