"""One GET from somebody who may be anybody: bounded in bytes and seconds, no redirects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from thunderhead_operator.cluster.http import HttpError, get


@asynccontextmanager
async def answering(raw: bytes, *, hangs: bool = False) -> AsyncIterator[int]:
    """A server that answers every connection with these bytes, whatever is asked; its port."""
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        if hangs:
            await left.wait()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        left.set()
        await asyncio.sleep(0)


def ok(body: bytes, *headers: str) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *(h.encode() for h in headers), b"", body])


async def fetch(port: int, max_bytes: int = 100, timeout_s: float = 5.0) -> bytes:
    return await get("127.0.0.1", port, "/status", timeout_s=timeout_s, max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (ok(b"{}", "Content-Length: 2"), b"{}"),
        (ok(b"{}", "content-length:2", "X: y"), b"{}"),
        (ok(b"until the end"), b"until the end"),
        (ok(b"2\r\n{}\r\n3;x=y\r\n[1]\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), b"{}[1]"),
        (ok(b"x" * 100, "Content-Length: 100"), b"x" * 100),
    ],
)
async def test_good_answers(raw: bytes, body: bytes) -> None:
    async with answering(raw) as port:
        assert await fetch(port) == body


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://metadata/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", "500"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP answer"),
        (b"\r\n\r\n", "no HTTP answer"),
        (ok(b"x" * 101, "Content-Length: 101"), "101 bytes"),
        (ok(b"x" * 101), "longer than 100"),
        (ok(b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), "longer than 100"),
        (ok(b"-5\r\n", "Transfer-Encoding: chunked"), "negative"),
        (ok(b"zz\r\n", "Transfer-Encoding: chunked"), "ValueError"),
        (ok(b"short", "Content-Length: 50"), "IncompleteReadError"),
        (ok(b"x", "Content-Length: lots"), "lots"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", "LimitOverrunError"),
        (b"", "IncompleteReadError"),
    ],
)
async def test_bad_answers(raw: bytes, why: str) -> None:
    async with answering(raw) as port:
        with pytest.raises(HttpError, match=why):
            await fetch(port)


async def test_silence_has_an_end() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n", hangs=True) as port:
        with pytest.raises(HttpError, match=r"within 0.05 s"):
            await fetch(port, timeout_s=0.05)


async def test_nobody_there() -> None:
    with pytest.raises(HttpError):
        await fetch(1)
