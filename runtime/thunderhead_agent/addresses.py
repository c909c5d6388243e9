"""Listening sockets, and finding node 0 by a name that may not exist yet."""

from __future__ import annotations

import socket
from collections.abc import Iterator

RETRY_FIRST_SECONDS = 0.1
RETRY_CAP_SECONDS = 1.0
BACKLOG = 1024
LOOPBACK = "127.0.0.1"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on ``host``; empty means every address of the pod, IPv4 and IPv6 alike.

    Raises:
        OSError: the port is taken or the address is not ours; the message names both.
    """
    try:
        if host:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        return socket.create_server(("", port), backlog=BACKLOG)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {host or 'all addresses'}, port {port}: {error.strerror}"
        ) from error


def candidates(host: str, resolv_conf: str) -> list[str]:
    """Names to look up for ``host``, the cheapest first.

    A service name (``….svc``) is completed to the absolute name with the cluster's domain: one query then answers it;
    the resolver's search list would ask for it in every other domain before, and cache each refusal for seconds.
    """
    if not host.endswith(".svc"):
        return [host]
    domains = [
        word.removeprefix("svc.")
        for line in resolv_conf.splitlines()
        if line.split()[:1] == ["search"]
        for word in line.split()[1:]
        if word.startswith("svc.")
    ]
    return [*(f"{host}.{domain.rstrip('.')}." for domain in domains[:1]), host]


def backoff() -> Iterator[float]:
    """Seconds to wait between tries: short at first, never more than a second, since a pod is waiting."""
    delay = RETRY_FIRST_SECONDS
    while True:
        yield delay
        delay = min(delay * 2, RETRY_CAP_SECONDS)


def plain_address(address: str) -> str:
    """``10.0.0.5`` for the IPv4-mapped ``::ffff:10.0.0.5`` that a dual-stack socket reports."""
    return address.removeprefix("::ffff:")


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel notice within half a minute that the other host is gone; no traffic of ours is needed for it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
