"""One bounded GET, for a server that may be anybody: no redirects, no keep-alive, a limit on bytes and on seconds."""

from __future__ import annotations

import asyncio
from typing import Final

_HEAD_MAX: Final = 16 * 1024


class HttpError(Exception):
    """No answer that could be used; the message says why."""


async def get(host: str, port: int, path: str, *, timeout_s: float, max_bytes: int) -> bytes:
    """Body of ``http://host:port/path`` if it answers 200 in time and is no longer than ``max_bytes``.

    Raises:
        HttpError: it does not.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _get(host, port, path, max_bytes)
    except TimeoutError as error:
        raise HttpError(f"{host}:{port}{path} did not answer within {timeout_s} s") from error
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise HttpError(f"{host}:{port}{path}: {type(error).__name__}: {error}") from error


async def _get(host: str, port: int, path: str, max_bytes: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, limit=_HEAD_MAX)
    try:
        shown = f"[{host}]" if ":" in host else host
        lines = (f"GET {path} HTTP/1.1", f"Host: {shown}:{port}", "Accept: application/json", "Connection: close")
        writer.write("\r\n".join((*lines, "", "")).encode("ascii"))
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, headers = _parse_head(head)
        if status != 200:
            raise HttpError(f"{host}:{port}{path} answered {status}")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await _chunked(reader, max_bytes)
        return await _plain(reader, headers.get("content-length"), max_bytes)
    finally:
        writer.close()


def _parse_head(head: str) -> tuple[int, dict[str, str]]:
    lines = head.split("\r\n")
    parts = lines[0].split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise HttpError(f"no HTTP answer: {lines[0][:80]!r}")
    pairs = (line.partition(":") for line in lines[1:] if ":" in line)
    return int(parts[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _plain(reader: asyncio.StreamReader, length: str | None, max_bytes: int) -> bytes:
    if length is not None:
        if not length.isdigit() or int(length) > max_bytes:
            raise HttpError(f"body of {length[:32]} bytes, more than {max_bytes}")
        return await reader.readexactly(int(length))
    body = bytearray()
    while chunk := await reader.read(_HEAD_MAX):
        body += chunk
        _check(len(body), max_bytes)
    return bytes(body)


async def _chunked(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).partition(b";")[0].strip(), 16)
        if size == 0:
            return bytes(body)
        if size < 0:
            raise HttpError("a chunk of negative size")
        _check(len(body) + size, max_bytes)
        body += await reader.readexactly(size)
        await reader.readexactly(2)


def _check(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise HttpError(f"body longer than {max_bytes} bytes")
