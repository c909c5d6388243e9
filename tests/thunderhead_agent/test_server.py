"""The HTTP port: three pages, bounded, undisturbed by bad clients."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from thunderhead_agent.server import MAX_CONCURRENT, AgentServer, pages


class Site:
    """A server on a free port, whose health and blocking the test decides."""

    def __init__(self) -> None:
        self.healthy = True
        self.hold = threading.Event()
        self.hold.set()
        self.waiting = threading.Semaphore(0)
        self.server = AgentServer("127.0.0.1", 0, pages(lambda: b"{}", self._metrics, lambda: self.healthy))
        self.server.start()

    def _metrics(self) -> bytes:
        self.waiting.release()
        self.hold.wait(30)
        return b"# nothing\n"

    def get(self, path: str) -> tuple[int, str, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=10) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.hold.set()
    made.server.shutdown()
    made.server.server_close()


def test_the_pages(site: Site) -> None:
    assert site.get("/status") == (200, "application/json; charset=utf-8", b"{}")
    assert site.get("/metrics?format=text")[:2] == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert site.get("/healthz")[0] == 200
    assert site.get("/etc/passwd")[0] == 404
    site.healthy = False
    assert site.get("/healthz")[0] == 503


def test_nothing_but_reading_is_allowed(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as client:
        client.sendall(b"POST /status HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        assert client.recv(64).startswith(b"HTTP/1.0 501")


def test_more_clients_than_slots_are_turned_away_and_the_rest_is_served(site: Site) -> None:
    site.hold.clear()
    clients = [socket.create_connection(("127.0.0.1", site.server.port), timeout=20) for _ in range(MAX_CONCURRENT)]
    for client in clients:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    for _ in clients:
        assert site.waiting.acquire(timeout=20)
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=20) as late:
        assert late.recv(64) == b""
    site.hold.set()
    for client in clients:
        assert client.recv(64).startswith(b"HTTP/1.0 200")
        client.close()


def test_clients_that_hang_up_or_talk_nonsense_do_no_harm(site: Site) -> None:
    for noise in (b"", b"\x00\xff\x00\n\n", b"GET /status HTTP/1.0\r\n"):
        with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as client:
            client.sendall(noise)
    assert site.get("/status")[0] == 200
