"""kopf as a shell, against a server that speaks HTTP: it tells of everything and writes nothing."""

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
from op_world import NAME, NAMESPACE, job

from thunderhead_api.treaty import KIND, Label
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.kopfio.registry import shell_registry
from thunderhead_operator.kopfio.settings import shell_settings
from thunderhead_operator.plan.objects import Manifest, Obj

WAIT_S = 30.0


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[str | None, str, str]] = []
        self.changed = asyncio.Condition()
        self.started = asyncio.Event()
        self.stopped = False
        self.ill: str | None = None

    def saw(self, event: str | None, kind: str, obj: Obj) -> None:
        self.heard.append((event, kind, obj["metadata"]["name"]))
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, *wanted: tuple[str | None, str, str]) -> None:
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(lambda: set(wanted) <= set(self.heard))

    def check(self) -> None:
        if self.ill:
            raise RuntimeError(self.ill)

    async def start(self) -> None:
        self.started.set()

    async def stop(self) -> None:
        self.stopped = True


def child_pod(name: str, labels: dict[str, str]) -> Manifest:
    return {"kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "spec": {}}


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
def running(server: ApiServer, kubeconfig: Callable[[str], None], unused_tcp_port: int) -> Running:
    """Starts kopf with our registry and settings; yields the ear, the task and the health URL."""

    @asynccontextmanager
    async def start() -> AsyncIterator[tuple[Ear, asyncio.Task[None], str]]:
        ear, stop = Ear(), asyncio.Event()
        health = f"http://127.0.0.1:{unused_tcp_port}/healthz"
        async with server.serve() as url:
            kubeconfig(url)
            registry = shell_registry(ear, on_start=ear.start, on_stop=ear.stop)
            settings = shell_settings()
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
                    await ear.started.wait()
                yield ear, task, health
            finally:
                stop.set()
                await asyncio.wait([task], timeout=WAIT_S)

    return start


async def test_it_tells_of_jobs_and_of_our_pods_and_writes_nothing(server: ApiServer, running: Running) -> None:
    server.cluster.create(job())
    before = server.cluster.get(KIND, NAMESPACE, NAME)
    async with running() as (ear, _, _):
        await ear.until((None, KIND, NAME))
        await eventually(lambda: {kind for kind, _ in server.watches} == {KIND, "Pod"})
        server.cluster.create(child_pod("digits-1-0", {Label.JOB.value: NAME}))
        server.cluster.create(child_pod("stranger", {}))
        server.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
        server.cluster.edit(KIND, NAMESPACE, NAME, lambda o: o["spec"].update(seed=1))
        await ear.until(("ADDED", "Pod", "digits-1-0"), ("DELETED", "Pod", "digits-1-0"), ("MODIFIED", KIND, NAME))
        assert not any(name == "stranger" for _, _, name in ear.heard)
        assert {method for method, _ in server.requests} == {"GET"}
        assert ("Pod", Label.JOB.value) in server.selectors, "the server selects, not we"
    assert ear.stopped
    assert before["metadata"] == server.cluster.get(KIND, NAMESPACE, NAME)["metadata"] | {
        "generation": 1,
        "resourceVersion": before["metadata"]["resourceVersion"],
    }, "no annotation, no finalizer"


async def test_a_broken_watch_lists_again(server: ApiServer, running: Running) -> None:
    server.cluster.create(job())
    async with running() as (ear, task, _):
        await ear.until((None, KIND, NAME))
        await eventually(lambda: KIND in {kind for kind, _ in server.watches})
        ear.heard.clear()
        server.break_watches(KIND)
        await ear.until((None, KIND, NAME))
        assert not task.done()


@pytest.mark.parametrize(("ill", "status"), [(None, 200), ("the watch of Pod is deaf", 500)])
async def test_the_probe_answers_for_the_ear(running: Running, ill: str | None, status: int) -> None:
    async with running() as (ear, _, health), aiohttp.ClientSession() as session:
        ear.ill = ill
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


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that another task does and tells nobody of."""
    async with asyncio.timeout(WAIT_S):
        for _ in iter(condition, True):
            await asyncio.sleep(0.01)


def test_no_handler_that_would_write_to_objects() -> None:
    """Change handlers, daemons, timers and indices annotate objects, add finalizers, or go stale."""
    ear = Ear.__new__(Ear)
    registry = shell_registry(ear, on_start=ear.start, on_stop=ear.stop)
    for kind in ("_changing", "_spawning", "_indexing", "_webhooks"):
        assert not list(getattr(registry, kind).get_all_handlers()), kind
    assert len(list(registry._watching.get_all_handlers())) == 2
