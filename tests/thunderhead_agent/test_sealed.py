"""Lines between agents: who gets one, and what becomes of frames that somebody made, changed, repeated or dropped."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from thunderhead_agent import sealed
from thunderhead_agent.addresses import listen
from thunderhead_agent.door import Door
from thunderhead_agent.sealed import CHALLENGE_BYTES, MAGIC, Forged, Line, Role, Secret, Who

OURS = Secret(bytes(range(32)), "u-1", 3)
ME = Who(1, Role.CONTROL)


@dataclass
class Hall:
    """Node 0's side: a door, and the lines of those who came through."""

    port: int = 0
    lines: asyncio.Queue[tuple[Who, Line]] = field(default_factory=asyncio.Queue)
    turned_away: list[str] = field(default_factory=list)

    async def receive(self, sock: socket.socket, address: str) -> bool:
        who, agreed = await sealed.receive(sock, OURS)
        self.lines.put_nowait((who, await sealed.accepted(sock, agreed)))
        return True


@asynccontextmanager
async def hall(seconds: float = 20.0) -> AsyncIterator[Hall]:
    made = Hall()
    listener = listen("127.0.0.1", 0)
    made.port = listener.getsockname()[1]
    door = Door(
        listener=listener,
        receive=made.receive,
        seconds=seconds,
        total=8,
        per_address=4,
        turned_away=lambda address, reason: made.turned_away.append(reason),
    )
    async with asyncio.timeout(30):
        task = asyncio.create_task(door.stand_open())
        yield made
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def dial(port: int, secret: Secret = OURS, who: Who = ME) -> Line:
    return await sealed.dial("127.0.0.1", port, secret, who, seconds=20)


async def test_frames_go_both_ways_in_order() -> None:
    async with hall() as node_0:
        line = await dial(node_0.port, who=Who(7, Role.STORE))
        who, theirs = await node_0.lines.get()
        assert who == Who(7, Role.STORE)
        for payload in (b"a", b"b" * sealed.MAX_FRAME_BYTES, b"c"):
            line.send(payload)
            theirs.send(payload[::-1])
            assert await theirs.receive() == payload
            assert await line.receive() == payload[::-1]
        line.close()
        assert await theirs.receive() == b""
        theirs.close()


@pytest.mark.parametrize(
    "secret",
    [Secret(bytes(32), "u-1", 3), Secret(OURS.key, "u-2", 3), Secret(OURS.key, "u-1", 2)],
    ids=["key", "uid", "attempt"],
)
async def test_who_does_not_know_all_of_it_is_hung_up_on(secret: Secret) -> None:
    async with hall() as node_0:
        with pytest.raises(sealed.Stranger, match="hung up"):
            await dial(node_0.port, secret)
        assert node_0.turned_away == ["did not know this attempt's key"]
        assert node_0.lines.empty()


async def test_a_stranger_hears_nothing_of_the_job() -> None:
    async with hall() as node_0:
        reader, writer = await asyncio.open_connection("127.0.0.1", node_0.port)
        writer.write(b"\0" * 1000)
        with suppress(ConnectionResetError):
            heard = await reader.read()
            assert len(heard) == CHALLENGE_BYTES
            assert b"u-1" not in heard
        writer.close()


@pytest.mark.parametrize("answer", [MAGIC + bytes(64), b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(99), MAGIC[:5]])
async def test_a_false_node_0_is_found_out_and_learns_nothing_it_could_use(answer: bytes) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.write_eof()
        heard.put_nowait(await reader.read())
        writer.close()

    server = await asyncio.start_server(impostor, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(20):
        with pytest.raises(sealed.Stranger):
            await dial(port)
        assert b"u-1" not in await heard.get()
    server.close()
    await server.wait_closed()


async def test_an_introduction_cannot_be_played_again() -> None:
    """Everything that a node once said is said again to node 0, word by word."""
    said: list[bytes] = []
    async with hall() as node_0:

        async def eavesdropper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", node_0.port)
            writer.write(await there.readexactly(CHALLENGE_BYTES))
            said.append(await reader.read(1000))
            back.write(said[0])
            writer.write(await there.read(1000))
            await writer.drain()
            writer.close()
            back.close()

        server = await asyncio.start_server(eavesdropper, "127.0.0.1", 0)
        line = await dial(server.sockets[0].getsockname()[1])
        line.close()
        (await node_0.lines.get())[1].close()
        reader, writer = await asyncio.open_connection("127.0.0.1", node_0.port)
        writer.write(said[0])
        heard = await reader.read()
        assert len(heard) == CHALLENGE_BYTES
        writer.close()
        server.close()
        await server.wait_closed()
        assert node_0.lines.empty()
        assert node_0.turned_away == ["did not know this attempt's key"]


def _frames(data: bytes) -> list[bytes]:
    frames = []
    while data:
        size = 4 + int.from_bytes(data[:4]) + sealed.MAC_BYTES
        frames.append(data[:size])
        data = data[size:]
    return frames


def _tampered(frames: list[bytes], rng: random.Random) -> list[bytes]:
    """Something that whoever is on the path can do to what goes by."""
    frames = list(frames)
    at = rng.randrange(len(frames))
    deed = rng.choice(["flip", "drop", "repeat", "swap", "insert"])
    if deed == "flip":
        bit = rng.randrange(8 * len(frames[at]))
        changed = bytearray(frames[at])
        changed[bit // 8] ^= 1 << bit % 8
        frames[at] = bytes(changed)
    elif deed == "drop":
        del frames[at if at < len(frames) - 1 else 0]
    elif deed == "repeat":
        frames.insert(at + 1, frames[at])
    elif deed == "swap":
        other = (at + 1) % len(frames)
        frames[at], frames[other] = frames[other], frames[at]
    else:
        frames.insert(at, (5).to_bytes(4) + b"bogus" + rng.randbytes(sealed.MAC_BYTES))
    return frames


@pytest.mark.parametrize("seed", range(40))
async def test_frames_that_are_not_theirs_end_the_line(seed: int) -> None:
    rng = random.Random(seed)
    sent = [rng.randbytes(rng.randrange(1, 40)) for _ in range(5)]
    written = bytearray()

    class Writer:
        def write(self, data: bytes) -> None:
            written.extend(data)

    Line(asyncio.StreamReader(), Writer(), ours=b"k" * 32, theirs=b"").send(b"x")  # type: ignore[arg-type]  # enough of one
    written.clear()
    source = Line(asyncio.StreamReader(), Writer(), ours=b"k" * 32, theirs=b"t" * 32)  # type: ignore[arg-type]  # enough
    for payload in sent:
        source.send(payload)
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(_tampered(_frames(bytes(written)), rng)))
    reader.feed_eof()
    sink = Line(reader, None, ours=b"t" * 32, theirs=b"k" * 32)  # type: ignore[arg-type]  # never writes
    got: list[bytes] = []
    forged = False
    try:
        while payload := await sink.receive():
            got.append(payload)
    except (Forged, EOFError):
        forged = True
    assert forged, f"seed {seed}: {got} of {sent}"
    assert got == sent[: len(got)], f"seed {seed}"


async def test_the_two_directions_have_keys_of_their_own() -> None:
    """What node 0 said, sent back to it, is not what node 1 said."""
    async with hall() as node_0:
        line = await dial(node_0.port)
        _, theirs = await node_0.lines.get()
        theirs.send(b"verdict")
        frame = await line._reader.readexactly(4 + 7 + sealed.MAC_BYTES)
        line.writer.write(frame)
        with pytest.raises(Forged):
            await theirs.receive()
        line.close()
        theirs.close()


def test_the_key_is_not_shown() -> None:
    assert "key" not in repr(OURS)
    assert repr(OURS.key)[2:10] not in repr(OURS)
