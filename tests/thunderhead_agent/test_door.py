"""The door: strangers have little time and little room, and none of them keeps those out who are expected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from thunderhead_agent import sealed
from thunderhead_agent.addresses import listen
from thunderhead_agent.door import Door, Receive, Stranger, Tally
from thunderhead_agent.hub import STRANGERS, STRANGERS_OF_ONE, Hub
from thunderhead_agent.sealed import Role, Secret, Who

OURS = Secret(bytes(range(32)), "u-1", 3)
MIB = 2**20


@asynccontextmanager
async def hub(said: list[str]) -> AsyncIterator[tuple[Hub, int]]:
    async def no_store() -> int:
        raise AssertionError("nobody meets here")

    async with asyncio.timeout(60):
        made = Hub(3, OURS, start_store=no_store, say=said.append)
        listener = listen("127.0.0.1", 0)
        made.serve(listener)
        yield made, listener.getsockname()[1]
        await made.close()


async def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def is_hung_up_on(sock: socket.socket) -> bool:
    """Waits for the end of a connection."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionResetError):
        while await loop.sock_recv(sock, 4096):
            pass
    return True


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_crowd_that_says_half_a_hello_costs_little_and_keeps_nobody_out() -> None:
    said: list[str] = []
    async with hub(said) as (_, port):
        before = resident()
        crowd: list[socket.socket] = []
        loop = asyncio.get_running_loop()
        for number in range(2 * STRANGERS):
            sock = await connect(port, f"127.0.0.{2 + number % 8}")
            crowd.append(sock)
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.005):
                    await loop.sock_sendall(sock, b"x" * 100_000)
        assert resident() - before < 16 * MIB
        async with asyncio.timeout(3):
            line = await sealed.dial("127.0.0.1", port, OURS, Who(1, Role.CONTROL), seconds=3)
        line.close()
        for sock in crowd:
            sock.close()
    assert len(said) <= 3, said
    assert said[-1].startswith("turned away ")


@asynccontextmanager
async def door(said: list[str], receive: Receive, **bounds: Any) -> AsyncIterator[int]:
    """One that stands open; its port."""
    listener = listen("127.0.0.1", 0)
    made = Door(
        listener=listener,
        receive=receive,
        turned_away=lambda address, reason: said.append(f"{address} {reason}"),
        **{"seconds": 30, "total": 9, "per_address": 9, **bounds},
    )
    async with asyncio.timeout(30):
        task = asyncio.create_task(made.stand_open())
        yield listener.getsockname()[1]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_silence_is_ended_after_a_few_seconds_and_who_is_of_no_use_at_once() -> None:
    said: list[str] = []

    async def hear(sock: socket.socket, address: str) -> bool:
        await asyncio.get_running_loop().sock_recv(sock, 1)
        raise Stranger("is of no use")

    async with door(said, hear, seconds=0.05) as port:
        silent = await connect(port)
        assert await is_hung_up_on(silent)
        silent.close()
    async with door(said, hear) as port:
        talking = await connect(port)
        await asyncio.get_running_loop().sock_sendall(talking, b"!")
        assert await is_hung_up_on(talking)
        talking.close()
    assert said == ["127.0.0.1 took longer than 0.05 s", "127.0.0.1 is of no use"]


async def test_who_has_most_makes_room_and_the_others_stay() -> None:
    said: list[str] = []

    async def wait(sock: socket.socket, address: str) -> bool:
        await asyncio.get_running_loop().sock_recv(sock, 1)
        return False

    async with door(said, wait, total=6, per_address=4) as port:
        modest = await connect(port, "127.0.0.2")
        crowd = [await connect(port, "127.0.0.3") for _ in range(5)]
        assert await is_hung_up_on(crowd[0]), "of one address, the oldest"
        others = [await connect(port, "127.0.0.4"), await connect(port, "127.0.0.5")]
        assert await is_hung_up_on(crowd[1]), "of all, the oldest of who has most"
        assert said == ["127.0.0.3 had to make room"] * 2
        await asyncio.get_running_loop().sock_sendall(modest, b"!")
        assert await is_hung_up_on(modest)
        assert said == ["127.0.0.3 had to make room"] * 2, "the modest one was heard"
        for sock in (modest, *crowd, *others):
            sock.close()


async def test_a_thousand_strangers_are_one_line_in_the_log() -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    tally = Tally(said.put_nowait, first_s=0.01, period_s=0.05)
    for number in range(1000):
        tally(f"10.0.0.{number % 200}", "hung up" if number % 4 else "took longer than 5 s")
    async with asyncio.timeout(20):
        first = await said.get()
        assert first == "turned away 1000 connections, the last from 10.0.0.199: 750 hung up, 250 took longer than 5 s"
        begun = asyncio.get_running_loop().time()
        tally("10.0.0.9", "hung up")
        assert await said.get() == "turned away 1 connection, the last from 10.0.0.9: 1 hung up"
    assert asyncio.get_running_loop().time() - begun > 0.02


def test_the_bounds_leave_room_for_every_address() -> None:
    assert STRANGERS_OF_ONE < STRANGERS
