"""Operators in the tests' own process: their ports, and what kopf does to a process that it cannot end."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator

import kopf
import pytest

from thunderhead_operator.kopfio import settings, shell

# Below those that Linux gives to outgoing connections, one of which may take a port between its choice and its use.
_FIRST, _LAST = 20_000, 32_000
_ports: Iterator[int] = itertools.count(os.getpid() * 37)


@pytest.fixture(scope="session")
def a_port() -> Callable[[], int]:
    """Ports that nothing listens on; processes of tests beside this one begin to look elsewhere."""

    def choose() -> int:
        for number in _ports:
            port = _FIRST + number % (_LAST - _FIRST)
            with socket.socket() as probe:
                try:
                    probe.bind(("0.0.0.0", port))
                except OSError:
                    continue
            return port
        raise AssertionError("the count has no end")

    return choose


@pytest.fixture(autouse=True)
def _survive_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that ends by an error has its process killed after a while, which here is the tests'."""

    def without_the_kill() -> kopf.OperatorSettings:
        made = settings.shell_settings()
        made.process.ultimate_exiting_timeout = None
        return made

    monkeypatch.setattr(shell, "shell_settings", without_the_kill)
