"""The whole operator process against a server that speaks HTTP: lease, watches, passes, metrics, probe, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from op_server import ApiServer
from op_world import KEY, NAMESPACE, job

from thunderhead_api.treaty import KIND
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.kopfio.shell import Options, Shell
from thunderhead_operator.plan.config import Config

WAIT_S = 60.0


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        for _ in iter(condition, True):
            await asyncio.sleep(0.02)


async def test_one_operator_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port_factory: Callable[[], int]
) -> None:
    cluster = MemoryCluster()
    server = ApiServer(cluster)
    metrics, health = unused_tcp_port_factory(), unused_tcp_port_factory()
    options = Options(
        config=Config(runtime_image="runtime:1"),
        namespaces=(NAMESPACE,),
        lease_namespace=NAMESPACE,
        identity="me",
        metrics_port=metrics,
        health_port=health,
    )
    async with server.serve() as url:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        shell = Shell(options)
        running = asyncio.create_task(shell.run())
        try:
            await eventually(lambda: bool(cluster.all("Lease")))
            cluster.create(job())
            await eventually(lambda: len(cluster.all("Pod")) == 2)
            await eventually(lambda: "podsCreatedAt" in cluster.get(KIND, *KEY).get("status", {}))
            assert cluster.all("Pod")[0]["spec"]["containers"][0]["image"] == "runtime:1"
            assert [e["reason"] for e in cluster.all("Event")] == ["AttemptStarted"]
            async with aiohttp.ClientSession() as session:
                text = await fetch(session, f"http://127.0.0.1:{metrics}/metrics")
                assert "thunderhead_operator_lease_held 1.0" in text
                assert 'thunderhead_operator_jobs{phase="Starting"} 1.0' in text
                assert json.loads(await fetch(session, f"http://127.0.0.1:{health}/healthz")) == {"operator": "ok"}
        finally:
            shell.stop()
            await asyncio.wait([running], timeout=WAIT_S)
    await running
    assert cluster.all("Lease")[0]["spec"]["holderIdentity"] == "", "released for the next one"


async def fetch(session: aiohttp.ClientSession, url: str) -> str:
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with session.get(url) as response:
                    return await response.text()
            await asyncio.sleep(0.05)
