"""The whole operator process against a server that speaks HTTP: lease, watches, passes, metrics, probe, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from op_server import ApiServer
from op_world import KEY, NAMESPACE, job

from thunderhead_api.treaty import KIND
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.control import lease
from thunderhead_operator.kopfio.shell import Options, Shell
from thunderhead_operator.plan.config import Config

WAIT_S = 60.0


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        for _ in iter(condition, True):
            await asyncio.sleep(0.02)


def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, port: Callable[[], int]) -> Options:
    """What the command line says; and a kubeconfig that names the server."""
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return Options(
        config=Config(runtime_image="runtime:1"),
        namespaces=(NAMESPACE,),
        lease_namespace=NAMESPACE,
        identity="me",
        metrics_port=port(),
        health_port=port(),
    )


@dataclass
class Whole:
    """A process that runs, and what it speaks to."""

    cluster: MemoryCluster
    server: ApiServer
    options: Options
    running: asyncio.Task[None]


Begin = Callable[[], AbstractAsyncContextManager[Whole]]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_port: Callable[[], int]) -> Begin:
    """Runs an operator until the end of a block, at which it has to end well."""

    @asynccontextmanager
    async def process() -> AsyncIterator[Whole]:
        cluster = MemoryCluster()
        server = ApiServer(cluster)
        async with server.serve() as url:
            wanted = options(tmp_path, monkeypatch, url, a_port)
            shell = Shell(wanted)
            running = asyncio.create_task(shell.run())
            try:
                yield Whole(cluster, server, wanted, running)
            finally:
                ended = running.done()
                shell.stop()
                await asyncio.wait([running], timeout=WAIT_S)
                if ended:
                    await running  # its error explains that of the block
        await running

    return process


async def test_one_operator_process(begin: Begin) -> None:
    async with begin() as whole:
        cluster = whole.cluster
        await eventually(lambda: bool(cluster.all("Lease")))
        cluster.create(job())
        await eventually(lambda: len(cluster.all("Pod")) == 2)
        await eventually(lambda: "podsCreatedAt" in cluster.get(KIND, *KEY).get("status", {}))
        assert cluster.all("Pod")[0]["spec"]["containers"][0]["image"] == "runtime:1"
        assert [e["reason"] for e in cluster.all("Event")] == ["AttemptStarted"]
        async with aiohttp.ClientSession() as session:
            text = await fetch(session, f"http://127.0.0.1:{whole.options.metrics_port}/metrics")
            assert "thunderhead_operator_lease_held 1.0" in text
            assert 'thunderhead_operator_jobs{phase="Starting"} 1.0' in text
            healthz = f"http://127.0.0.1:{whole.options.health_port}/healthz"
            assert json.loads(await fetch(session, healthz)) == {"operator": "ok"}
    assert cluster.all("Lease")[0]["spec"]["holderIdentity"] == "", "released for the next one"


@pytest.mark.parametrize("kind", ["Service", "NetworkPolicy"])
async def test_what_somebody_removed_is_made_again_at_once(kind: str, begin: Begin) -> None:
    async with begin() as whole:
        cluster = whole.cluster
        await eventually(lambda: len(whole.server.watches) == 4)
        cluster.create(job())
        await eventually(lambda: "podsCreatedAt" in cluster.get(KIND, *KEY).get("status", {}))
        (uid,) = [o["metadata"]["uid"] for o in cluster.all(kind)]
        cluster.remove(kind, *KEY)
        async with asyncio.timeout(20):  # the resync would take a minute
            await eventually(lambda: [o["metadata"]["uid"] for o in cluster.all(kind)] not in ([], [uid]))


async def test_an_api_server_that_is_away_ends_nothing(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease, "DURATION_S", 0.6)
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    async with begin() as whole:
        await eventually(lambda: len(whole.server.watches) == 4)
        whole.server.away = 503
        await eventually(lambda: "is lost" in caplog.text)
        whole.cluster.create(job())
        assert not whole.running.done()
        whole.server.away = None
        await eventually(lambda: len(whole.cluster.all("Pod")) == 2)
        assert not whole.running.done()


async def fetch(session: aiohttp.ClientSession, url: str) -> str:
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with session.get(url) as response:
                    return await response.text()
            await asyncio.sleep(0.05)
