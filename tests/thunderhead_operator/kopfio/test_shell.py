"""kopf as a shell, against a server that speaks HTTP: it starts, answers probes and ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
from op_server import ApiServer
from op_world import NAMESPACE

from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.kopfio import shell
from thunderhead_operator.kopfio.registry import shell_registry

WAIT_S = 30.0


class Operator:
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.stopped = False
        self.ill: str | None = None

    def check(self) -> None:
        if self.ill:
            raise RuntimeError(self.ill)

    async def start(self) -> None:
        self.started.set()

    async def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(MemoryCluster())


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def write(url: str) -> None:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(path))

    return write


Running = Callable[[], Any]


@pytest.fixture
def running(server: ApiServer, kubeconfig: Callable[[str], None], a_port: Callable[[], int]) -> Running:
    """Starts kopf with our registry and settings; yields the operator, the task and the health URL."""

    @asynccontextmanager
    async def start() -> AsyncIterator[tuple[Operator, asyncio.Task[None], str]]:
        operator, stop = Operator(), asyncio.Event()
        health = f"http://127.0.0.1:{a_port()}/healthz"
        async with server.serve() as url:
            kubeconfig(url)
            registry = shell_registry(operator, on_start=operator.start, on_stop=operator.stop)
            settings = shell.shell_settings()
            settings.watching.reconnect_backoff = 0.01
            work = kopf.operator(
                registry=registry,
                settings=settings,
                standalone=True,
                namespaces=[NAMESPACE],
                stop_flag=stop,
                liveness_endpoint=health,
            )
            task = asyncio.create_task(work)
            try:
                async with asyncio.timeout(WAIT_S):
                    await operator.started.wait()
                yield operator, task, health
            finally:
                stop.set()
                await asyncio.wait([task], timeout=WAIT_S)

    return start


@pytest.mark.parametrize(("ill", "status"), [(None, 200), ("the watch of Pod is deaf", 500)])
async def test_the_probe_answers_for_the_operator(running: Running, ill: str | None, status: int) -> None:
    async with running() as (operator, _, health), aiohttp.ClientSession() as session:
        operator.ill = ill
        answers: list[int] = []

        async def probe() -> None:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with session.get(health) as response:
                    answers.append(response.status)

        async with asyncio.timeout(WAIT_S):
            for _ in iter(lambda: bool(answers), True):
                await probe()
                await asyncio.sleep(0.05)
        assert answers == [status]


def test_no_handler_that_would_write_to_objects() -> None:
    """Change handlers, daemons, timers and indices annotate objects, add finalizers, or go stale; and what kopf watches
    it reads whole, however deep a tenant has made it."""
    operator = Operator.__new__(Operator)
    registry = shell_registry(operator, on_start=operator.start, on_stop=operator.stop)
    for kind in ("_changing", "_spawning", "_indexing", "_webhooks", "_watching"):
        assert not list(getattr(registry, kind).get_all_handlers()), kind
