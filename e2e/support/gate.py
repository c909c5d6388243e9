"""A gate in front of the S3 server: it passes everything on, remembers every request, and can hold one back.

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
        self.endpoint = f"http://{target.hostname}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, held: Held) -> None:
        """Lets requests wait at the gate, from the first for which `held` is true, until `open`."""
        self._opened.clear()
        self._held = held

    def open(self) -> None:
        """Lets everything pass, also what waits."""
        self._held = None
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
            server = socket.create_connection(self._target)
            threading.Thread(target=self._pump, args=(client, server, self._look), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, _pass), daemon=True).start()

    def _look(self, chunk: bytes) -> None:
        """A request begins a chunk, because a client waits for the answer before it sends the next."""
        found = _REQUEST.match(chunk)
        if found is None:
            return
        request = Request(found[1].decode(), found[2].decode(), time.time())
        held = self._held
        with self._news:
            self._requests.append(request)
            self._news.notify_all()
        if held is not None and held(request):
            self._opened.wait()

    def _pump(self, source: socket.socket, sink: socket.socket, look: Callable[[bytes], None]) -> None:
        try:
            while chunk := source.recv(_CHUNK):
                look(chunk)
                sink.sendall(chunk)
        except OSError:  # either side has gone; the other is told below
            pass
        for end in (source, sink):
            end.close()


def _pass(chunk: bytes) -> None:
    """Answers need no look."""
