"""The workers' store across nodes: it listens on node 0's loopback alone, and lines between agents carry its traffic.

A worker elsewhere connects to its own agent on loopback; for each such connection the agent opens a line to node 0's
agent, which connects to the store on its own loopback. Bytes go through as they are.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from thunderhead_agent.addresses import LOOPBACK, backoff, listen
from thunderhead_agent.door import Stranger
from thunderhead_agent.sealed import Line

CHUNK_BYTES = 64 * 1024
DIALS_AT_ONCE = 16
DIAL_TRIES = 8
MAX_LINES = 1024
"""Of one node. A worker has a handful; one that opens connections without end must not take node 0 along."""


async def carry(line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes both ways until either side ends; then both do."""

    async def outward() -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            line.send(chunk)
            await line.writer.drain()

    async def inward() -> None:
        while chunk := await line.receive():
            writer.write(chunk)
            await writer.drain()

    ways = {asyncio.ensure_future(outward()), asyncio.ensure_future(inward())}
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            with suppress(OSError, EOFError):  # an end is an end; whose it was the agents tell each other
                way.result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        line.close()
        writer.close()


async def carry_to_store(line: Line, port: int) -> None:
    """Node 0's end of a line."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=CHUNK_BYTES)
    except OSError:  # the store has died, which ends the attempt elsewhere
        line.close()
        return
    await carry(line, reader, writer)


class StoreForwarder:
    """The store, as the workers of another node see it: a port on their loopback.

    Args:
        dial: opens a line to node 0.
        say: for one line per event.
    """

    def __init__(self, dial: Callable[[], Awaitable[Line]], say: Callable[[str], None]) -> None:
        self._dial = dial
        self._say = say
        self._gate = asyncio.Semaphore(DIALS_AT_ONCE)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, listener: socket.socket | None = None) -> int:
        """Listen; returns the port."""
        listener = listener or listen(LOOPBACK, 0)
        port: int = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=CHUNK_BYTES)
        return port

    async def close(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs this as a task"
        self._tasks.add(task)
        try:
            if len(self._tasks) > MAX_LINES:
                self._say(f"refused a connection to the store: this node has {MAX_LINES} already")
                return
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = await self._line()
            if line is not None:
                await carry(line, reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _line(self) -> Line | None:
        """A worker connects once, so a door that is crowded for a moment is tried again here."""
        pauses = backoff()
        for left in reversed(range(DIAL_TRIES)):
            try:
                async with self._gate:
                    return await self._dial()
            except (OSError, Stranger, UnicodeError) as error:
                if not left:
                    self._say(f"the store on node 0 cannot be reached: {error}")
                    return None
            await asyncio.sleep(next(pauses))
        return None
