"""A gate in front of the S3 server: it passes everything on, remembers every request, can hold one back or refuse all.

Holding a PUT is how a test stops a job in mid-upload and not a moment earlier or later.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.1\r\n")
_CHUNK = 1 << 16
Held = Callable[["Request"], bool]


@dataclass(frozen=True)
class Request:
    """One request as it came to the gate; `at` in Unix seconds."""

    method: str
    path: str
    at: float


class Gate:
    """Listens on a port of its own, at the address at which pods reach the S3 server."""

    def __init__(self, upstream: str) -> None:
        target = urlsplit(upstream)
        assert target.hostname is not None
        self._target = (target.hostname, target.port or 80)
        self._listener = socket.create_server((target.hostname, 0))
        self._requests: list[Request] = []
        self._news = threading.Condition()
        self._held: Held | None = None
        self._opened = threading.Event()
        self._opened.set()
        self._refusal: tuple[int, str] | None = None
        self.endpoint = f"http://{target.hostname}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, held: Held) -> None:
        """Lets requests wait at the gate, from the first for which `held` is true, until `open`."""
        self._opened.clear()
        self._held = held

    def refuse(self, status: int, code: str) -> None:
        """Answers every request itself from now on, with an error of S3's, until `open`."""
        self._refusal = status, code

    def open(self) -> None:
        """Lets everything pass, also what waits."""
        self._held = self._refusal = None
        self._opened.set()

    def close(self) -> None:
        self.open()
        self._listener.close()

    @property
    def requests(self) -> list[Request]:
        with self._news:
            return list(self._requests)

    def wait_for(self, wanted: Callable[[Request], bool], what: str, *, timeout_s: float) -> Request:
        """The first request that is wanted, which may have come already."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                if found := next((request for request in self._requests if wanted(request)), None):
                    return found
                left = deadline - time.monotonic()
                assert left > 0, f"{what}: no such request at the S3 gate within {timeout_s:g} s"
                self._news.wait(left)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:  # the server is away, as the client sees by this; the gate stands on
                client.close()
                continue
            threading.Thread(target=self._pump, args=(client, server, self._look), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, _pass), daemon=True).start()

    def _look(self, chunk: bytes, client: socket.socket) -> bool:
        """A request begins a chunk, because a client waits for the answer before it sends the next. False: it has been
        answered here, and the connection is over."""
        found = _REQUEST.match(chunk)
        if found is None:
            return True
        request = Request(found[1].decode(), found[2].decode(), time.time())
        held = self._held
        with self._news:
            self._requests.append(request)
            self._news.notify_all()
        if held is not None and held(request):
            self._opened.wait()
        if self._refusal is not None:
            _answer(client, chunk, *self._refusal, with_body=request.method != "HEAD")
            return False
        return True

    def _pump(self, source: socket.socket, sink: socket.socket, look: Callable[[bytes, socket.socket], bool]) -> None:
        try:
            while (chunk := source.recv(_CHUNK)) and look(chunk, source):
                sink.sendall(chunk)
        except OSError:  # either side has gone; the other is told below
            pass
        for end in (source, sink):
            end.close()


def _pass(chunk: bytes, source: socket.socket) -> bool:
    """Answers need no look."""
    return True


def _answer(client: socket.socket, begun: bytes, status: int, code: str, *, with_body: bool) -> None:
    """Answers a request of which `begun` is the beginning, once all of it is here: a client that still sends would
    find the connection broken and no answer."""
    while b"\r\n\r\n" not in begun:
        begun += client.recv(_CHUNK)
    head, _, rest = begun.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    left = int(length[1]) - len(rest) if length else 0
    waits = b"100-continue" in head.lower()  # for leave to send, which it does not get
    while left > 0 and not waits and (chunk := client.recv(_CHUNK)):
        left -= len(chunk)
    body = f"<Error><Code>{code}</Code><Message>said at the gate</Message></Error>".encode() if with_body else b""
    fields = f"Content-Type: application/xml\r\nContent-Length: {len(body)}\r\nConnection: close"
    client.sendall(f"HTTP/1.1 {status} {code}\r\n{fields}\r\n\r\n".encode() + body)
