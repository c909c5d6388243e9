"""The workers' store from another node: through the agents' lines, on loopback at both ends."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from thunderhead_agent import sealed
from thunderhead_agent.addresses import listen
from thunderhead_agent.agent import Agent
from thunderhead_agent.early import EarlySignals
from thunderhead_agent.hub import Hub
from thunderhead_agent.peer import PeerSession
from thunderhead_agent.sealed import Role, Secret, Who
from thunderhead_agent.settings import read_settings
from thunderhead_agent.wire import Hello
from thunderhead_api.messages import FrozenJob
from thunderhead_api.treaty import Env

OURS = Secret(bytes(range(32)), "u-1", 3)


@dataclass
class Meeting:
    """A store that says everything twice, node 0 beside it, and node 1."""

    hub: Hub
    peer: PeerSession
    rendezvous: int
    said: list[str]
    at_store: list[asyncio.StreamWriter] = field(default_factory=list)
    port: int = 0


@asynccontextmanager
async def meeting(*, meet: bool = True) -> AsyncIterator[Meeting]:
    visitors: list[asyncio.StreamWriter] = []

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(writer)
        while chunk := await reader.read(65536):
            writer.write(chunk + chunk)
            await writer.drain()
        writer.close()

    async with asyncio.timeout(60):
        store = await asyncio.start_server(twice, "127.0.0.1", 0)
        store_port = store.sockets[0].getsockname()[1]

        async def start_store() -> int:
            return int(store_port)

        said: list[str] = []
        hub = Hub(2, OURS, start_store=start_store, say=said.append)
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        hub.serve(listener)
        me = Hello(node_rank=1, pod="digits-3-1")
        peer = PeerSession(
            me, OURS, "127.0.0.1", port, name_of_node_0="digits-3-0", read_resolv_conf=lambda: "", say=said.append
        )
        made = Meeting(hub, peer, port, said, visitors)
        if meet:
            peer.start()
            _, met = await asyncio.gather(hub.meet(), peer.meet())
            made.port = met.store_port
        yield made
        await peer.close()
        await hub.close()
        store.close()
        await store.wait_closed()


async def test_bytes_come_back_as_the_store_says_them() -> None:
    async with meeting() as m:
        rng = random.Random(5)
        clients = [await asyncio.open_connection("127.0.0.1", m.port) for _ in range(20)]
        for size in (1, 70_000, 300_000):
            said = [rng.randbytes(size) for _ in clients]
            for (_, writer), data in zip(clients, said, strict=True):
                writer.write(data)
            for (reader, _), data in zip(clients, said, strict=True):
                heard = await reader.readexactly(2 * size)
                assert sorted(heard) == sorted(data + data)
        for _, writer in clients:
            writer.close()


async def test_an_end_at_one_side_is_an_end_at_the_other() -> None:
    async with meeting() as m:
        reader, writer = await asyncio.open_connection("127.0.0.1", m.port)
        writer.write(b"!")
        await reader.readexactly(2)
        m.at_store[0].transport.abort()
        assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", m.port)
        writer.write(b"!")
        await reader.readexactly(2)
        writer.close()
        while not m.at_store[1].is_closing():  # noqa: ASYNC110 - the other end of three connections
            await asyncio.sleep(0.001)
        assert m.said == []


async def test_there_is_no_line_to_a_store_that_is_not_there_yet() -> None:
    async with meeting(meet=False) as m:
        line = await sealed.dial("127.0.0.1", m.rendezvous, OURS, Who(1, Role.STORE), seconds=20)
        assert await line.receive() == b""
        line.close()
        assert m.at_store == []


async def test_without_the_key_nobody_reaches_the_store() -> None:
    async with meeting() as m:
        stranger = Secret(bytes(32), "u-1", 3)
        with pytest.raises(sealed.Stranger):
            await sealed.dial("127.0.0.1", m.rendezvous, stranger, Who(1, Role.STORE), seconds=20)
        assert m.at_store == []


async def test_a_crowded_door_is_tried_again() -> None:
    """A worker connects to its store once, and it is not its fault that strangers stand around."""
    async with meeting() as m:
        dial, tries = m.peer._forwarder._dial, iter([OSError("reset"), sealed.Stranger("it hung up"), None])

        async def unlucky() -> sealed.Line:
            error = next(tries)
            if error is not None:
                raise error
            return await dial()

        m.peer._forwarder._dial = unlucky
        reader, writer = await asyncio.open_connection("127.0.0.1", m.port)
        writer.write(b"!")
        assert await reader.readexactly(2) == b"!!"
        writer.close()


class NoForkServer:
    """Takes the store's listener and starts nothing."""

    pids: set[int] = set()  # noqa: RUF012 - of a class that has one instance

    def __init__(self) -> None:
        self.listener: tuple[Any, ...] = ()
        self._ends = os.pipe()

    def start_store(self, listener: socket.socket) -> Any:
        self.listener = listener.getsockname()

        class Process:
            sentinel = self._ends[0]

        return Process


async def test_the_store_listens_on_loopback_though_the_agent_listens_everywhere(
    tmp_path: Path, make_job: Callable[..., FrozenJob]
) -> None:
    (tmp_path / "job.json").write_text(make_job().model_dump_json(by_alias=True))
    (tmp_path / "key").write_text("ab" * 32)
    names = {Env.JOB_FILE: "job.json", Env.KEY_FILE: "key", Env.RUN_DIR: "."}
    environ = {name: str(tmp_path / file) for name, file in names.items()}
    settings = read_settings({**environ, Env.NODE_RANK: "0", Env.RENDEZVOUS_HOST: "digits-2-0.digits.team.svc"})
    assert settings.agent_host == ""
    server = NoForkServer()
    early = EarlySignals.__new__(EarlySignals)  # without its handlers: this process is pytest's
    early.caught = []
    agent = Agent(settings, server, None, early=early)  # type: ignore[arg-type]  # what is not used of them is not there
    port = await agent._store()
    assert server.listener == ("127.0.0.1", port)
    asyncio.get_running_loop().remove_reader(server._ends[0])
