"""The HTTP port: three pages, bounded, undisturbed by bad clients."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator

import pytest

from thunderhead_agent.server import CONNECTIONS, CONNECTIONS_OF_ONE, HEAD_BYTES, AgentServer, Query, pages


class Site:
    """A server on a free port, whose health the test decides."""

    def __init__(self) -> None:
        self.healthy = True
        self.queries: list[Query] = []
        self.server = AgentServer("127.0.0.1", 0, pages(self._status, lambda: b"# nothing\n", lambda: self.healthy))
        self.server.start()

    def _status(self, query: Query) -> bytes:
        self.queries.append(query)
        return b"{}"

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20, source_address=(source, 0))


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.close()


def test_the_pages(site: Site) -> None:
    code, headers, body = site.ask("/status")
    assert (code, headers["Content-Type"], body) == (200, "application/json; charset=utf-8", b"{}")
    code, headers, body = site.ask("/metrics?format=text")
    assert (code, headers["Content-Type"], body) == (200, "text/plain; version=0.0.4; charset=utf-8", b"# nothing\n")
    assert site.ask("/healthz")[0] == 200
    assert site.ask("/etc/passwd")[0] == 404
    site.healthy = False
    assert site.ask("/healthz")[0] == 503


def test_the_status_page_hears_whom_a_question_is_for(site: Site) -> None:
    site.ask("/status?uid=a%20b&attempt=3")
    site.ask("/status")
    assert site.queries == [{"uid": "a b", "attempt": "3"}, {}]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_nothing_but_reading_is_allowed(method: str, site: Site) -> None:
    code, headers, body = site.ask("/status", method, b"x" * 20_000)
    assert (code, headers["Allow"], headers["Content-Type"]) == (405, "GET, HEAD", "text/plain; charset=utf-8")
    assert body == b"this port can be read only: use GET\n"
    assert site.queries == []


def test_a_head_is_an_answer_without_its_body(site: Site) -> None:
    code, headers, body = site.ask("/healthz", "HEAD")
    assert (code, headers["Content-Length"], body) == (200, "3", b"")


@pytest.mark.parametrize(
    "noise",
    [b"nonsense\r\n\r\n", b"GET /status\r\n\r\n", b"GET /" + b"x" * (2 * HEAD_BYTES), b"GET //[ HTTP/1.1\r\n\r\n"],
)
def test_nonsense_is_answered_as_such(noise: bytes, site: Site) -> None:
    with site.connect() as client:
        client.sendall(noise)
        assert client.recv(64).startswith(b"HTTP/1.1 400 Bad Request")
    assert site.ask("/status")[0] == 200


def test_clients_that_hang_up_do_no_harm(site: Site) -> None:
    for noise in (b"", b"\x00\xff\x00\n\n", b"GET /status HTTP/1.0\r\n"):
        with site.connect() as client:
            client.sendall(noise)
    assert site.ask("/status")[0] == 200


def test_a_crowd_of_slow_clients_keeps_nobody_out(site: Site) -> None:
    """As many as are let in, each in the middle of a request that it never ends, and new ones all the time."""
    slow = [site.connect(f"127.0.0.{2 + i // CONNECTIONS_OF_ONE}") for i in range(CONNECTIONS + CONNECTIONS_OF_ONE)]
    begun = time.monotonic()
    try:
        for number in range(20):
            for client in slow[number::20]:
                try:
                    client.sendall(b"GET /status HTTP/1.1\r\nX: 1\r\n")
                except OSError:
                    continue  # had to make room
            slow.append(site.connect("127.0.0.2"))
            assert site.ask("/healthz")[0] == 200
            assert site.ask("/status")[0] == 200
    finally:
        for client in slow:
            client.close()
    assert time.monotonic() - begun < 20


def test_a_request_has_a_time_limit_whatever_trickles_in(site: Site) -> None:
    with site.connect() as client:
        client.sendall(b"GET /status HTTP/1.1\r\n")
        client.settimeout(0.5)
        end = time.monotonic() + 60
        while True:
            assert time.monotonic() < end
            try:
                client.sendall(b"X: 1\r\n")
                assert client.recv(64) == b""
                break
            except TimeoutError:
                continue
            except OSError:  # reset: it did not read what came last
                break
