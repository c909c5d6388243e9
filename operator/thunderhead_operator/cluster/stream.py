"""Reading what a server sends without believing that it ends: bodies and lines of bounded length, events in lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

from thunderhead_operator.cluster.decode import decode, slim
from thunderhead_operator.cluster.errors import TooLong, Unavailable, error_for
from thunderhead_operator.plan.objects import Obj, section

_EVENTS: Final = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})


class Body(Protocol):
    """What we need of aiohttp's stream."""

    def iter_any(self) -> AsyncIterator[bytes]:
        """What has arrived, as it arrives."""


async def read_within(body: Body, most: int) -> bytes:
    """All of a body.

    Raises:
        TooLong: it has more than ``most`` bytes.
    """
    text = bytearray()
    async for chunk in body.iter_any():
        text += chunk
        if len(text) > most:
            raise TooLong(f"an answer of more than {most} bytes")
    return bytes(text)


async def lines(body: Body, most: int) -> AsyncIterator[bytes]:
    """The lines of a body, without empty ones.

    Raises:
        TooLong: one has more than ``most`` bytes.
    """
    rest = bytearray()
    async for chunk in body.iter_any():
        *whole, last = chunk.split(b"\n")
        for part in whole:
            rest += part
            if rest:
                yield bytes(rest)
            rest.clear()
        rest += last
        if len(rest) > most:
            raise TooLong(f"an event of more than {most} bytes")
    if rest:
        yield bytes(rest)


async def change_in(line: bytes, kind: str) -> tuple[str, Obj, str]:
    """Event, object and version in a line of a watch.

    Raises:
        ApiError: the server tells of an error, or it is no event.
    """
    try:
        event = await decode(line)
    except ValueError as error:
        raise Unavailable(f"a watch of {kind} sent what is no JSON: {error}") from error
    obj = event.get("object") if isinstance(event, Mapping) else None
    if not isinstance(obj, Mapping) or event.get("type") not in {*_EVENTS, "ERROR"}:
        raise Unavailable(f"a watch of {kind} sent what is no event: {line[:200]!r}")
    if event["type"] == "ERROR":
        raise error_for(
            int(obj.get("code") or 500), str(obj.get("reason", "")), f"watch of {kind}: {obj.get('message')}"
        )
    return str(event["type"]), slim(obj, kind), str(section(obj, "metadata").get("resourceVersion", ""))
