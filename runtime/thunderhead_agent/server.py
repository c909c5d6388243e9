"""The pod's HTTP port: ``/status``, ``/metrics``, ``/healthz``. Read-only, bounded, and workers never wait for it.

A thread and a loop of its own, so that it can say that the agent's loop does not turn. A request has a few seconds from
its first byte to its last, and one connection answers one; a crowd of slow clients makes room for whoever comes next.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from thunderhead_agent.addresses import listen
from thunderhead_agent.door import Door
from thunderhead_api.treaty import HEALTH_PATH, METRICS_PATH, STATUS_MAX_BYTES, STATUS_PATH

REQUEST_SECONDS: Final = 5.0
CONNECTIONS: Final = 256
CONNECTIONS_OF_ONE: Final = 64
HEAD_BYTES: Final = 8 * 1024
_LINGER_BYTES: Final = 64 * 1024
_END: Final = b"\r\n\r\n"
JSON_TYPE: Final = "application/json; charset=utf-8"
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
TEXT_TYPE: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    code: HTTPStatus
    content_type: str
    body: bytes
    allow: str = ""


Query = dict[str, str]
Page = Callable[[Query], Answer]
"""Makes an answer from the query of a request."""


class AgentServer:
    """Serves a fixed set of pages from a thread of its own."""

    def __init__(self, host: str, port: int, pages: dict[str, Page]) -> None:
        self._pages = pages
        self._listener = listen(host, port)
        self._loop = asyncio.new_event_loop()
        self._door: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    def start(self) -> None:
        """Serve until the process ends, or :meth:`close`."""
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(lambda: self._door and self._door.cancel())
        self._thread.join()

    def _run(self) -> None:
        door = Door(
            listener=self._listener,
            receive=self._serve,
            seconds=REQUEST_SECONDS,
            total=CONNECTIONS,
            per_address=CONNECTIONS_OF_ONE,
            # A client that hangs up or sends nonsense is its own affair; the log belongs to the training.
            turned_away=lambda address, reason: None,
        )
        asyncio.set_event_loop(self._loop)
        self._door = self._loop.create_task(door.stand_open())
        try:
            self._loop.run_until_complete(asyncio.gather(self._door, return_exceptions=True))
            self._loop.run_until_complete(asyncio.sleep(0))
        finally:
            self._loop.close()

    async def _serve(self, sock: socket.socket, address: str) -> bool:
        head = await _read_head(sock)
        answer, has_body = respond(self._pages, head)
        await self._loop.sock_sendall(sock, encode(answer, body=has_body))
        sock.shutdown(socket.SHUT_WR)
        await _let_finish(sock)
        return False


def respond(pages: dict[str, Page], head: bytes) -> tuple[Answer, bool]:
    """The answer to a request's head, and whether its body is sent as well."""
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(head) > HEAD_BYTES or len(words) != 3 or not words[2].startswith("HTTP/1."):
        return _text(HTTPStatus.BAD_REQUEST, f"not an HTTP request of at most {HEAD_BYTES} bytes"), True
    method, target, _ = words
    if method not in ("GET", "HEAD"):
        said = "this port can be read only: use GET"
        return _text(HTTPStatus.METHOD_NOT_ALLOWED, said, allow="GET, HEAD"), True
    return _page(pages, target), method == "GET"


def _page(pages: dict[str, Page], target: str) -> Answer:
    try:
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query, max_num_fields=16).items()}
    except ValueError:
        return _text(HTTPStatus.BAD_REQUEST, "not a path with a query")
    page = pages.get(url.path)
    if page is None:
        return _text(HTTPStatus.NOT_FOUND, "not found; there are /status, /metrics and /healthz")
    return page(query)


def encode(answer: Answer, *, body: bool) -> bytes:
    """The bytes of an HTTP response."""
    head = [
        f"HTTP/1.1 {answer.code.value} {answer.code.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *([f"Allow: {answer.allow}"] if answer.allow else []),
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode("ascii") + (answer.body if body else b"")


def _text(code: HTTPStatus, line: str, allow: str = "") -> Answer:
    return Answer(code, TEXT_TYPE, f"{line}\n".encode(), allow)


async def _read_head(sock: socket.socket) -> bytes:
    """Up to the empty line, or more than anybody may send."""
    loop, head = asyncio.get_running_loop(), b""
    while _END not in head and len(head) <= HEAD_BYTES:
        chunk = await loop.sock_recv(sock, HEAD_BYTES + 1 - len(head))
        if not chunk:
            raise EOFError("hung up")
        head += chunk
    return head.partition(_END)[0] if _END in head else head


async def _let_finish(sock: socket.socket) -> None:
    """Read what the client still sends: closing on unread bytes resets the connection, and takes our answer along."""
    loop, read = asyncio.get_running_loop(), 0
    while read < _LINGER_BYTES and (chunk := await loop.sock_recv(sock, _LINGER_BYTES)):
        read += len(chunk)


def pages(
    status: Callable[[Query], bytes], metrics: Callable[[], bytes], healthy: Callable[[], bool]
) -> dict[str, Page]:
    """The three pages."""

    def status_page(query: Query) -> Answer:
        body = status(query)
        assert len(body) <= STATUS_MAX_BYTES, "ranks and metrics are bounded"
        return Answer(HTTPStatus.OK, JSON_TYPE, body)

    def health_page(query: Query) -> Answer:
        if healthy():
            return _text(HTTPStatus.OK, "ok")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "the agent's loop does not turn")

    def metrics_page(query: Query) -> Answer:
        return Answer(HTTPStatus.OK, METRICS_TYPE, metrics())

    return {STATUS_PATH: status_page, METRICS_PATH: metrics_page, HEALTH_PATH: health_page}
