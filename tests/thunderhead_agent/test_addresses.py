"""Where to listen and which names to ask for."""

from __future__ import annotations

import itertools
import socket

import pytest

from thunderhead_agent.addresses import backoff, candidates, listen, plain_address

RESOLV_CONF = """
nameserver 10.96.0.10
search team.svc.cluster.local svc.cluster.local cluster.local example.org
options ndots:5
"""


@pytest.mark.parametrize(
    ("host", "resolv_conf", "expected"),
    [
        (
            "digits-3-0.digits.team.svc",
            RESOLV_CONF,
            ["digits-3-0.digits.team.svc.cluster.local.", "digits-3-0.digits.team.svc"],
        ),
        ("a.b.c.svc", "search team.svc.corp.example. svc.corp.example.\n", ["a.b.c.svc.corp.example.", "a.b.c.svc"]),
        ("a.b.c.svc", "nameserver 1.1.1.1\n", ["a.b.c.svc"]),
        ("127.0.0.1", RESOLV_CONF, ["127.0.0.1"]),
        ("host.example.org", RESOLV_CONF, ["host.example.org"]),
    ],
)
def test_a_service_is_asked_for_by_its_absolute_name_first(host: str, resolv_conf: str, expected: list[str]) -> None:
    assert candidates(host, resolv_conf) == expected


def test_tries_are_frequent_at_first_and_never_rare() -> None:
    pauses = list(itertools.islice(backoff(), 8))
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.1, 1.0)


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_listener_is_reachable(host: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            connection, peer = listener.accept()
            connection.close()
            assert plain_address(peer[0]) == "127.0.0.1"


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}"):
            listen("127.0.0.1", port)
