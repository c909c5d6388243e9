"""The kubelet of the local mode against a cluster of one dict, with small programs in place of agents."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from thunderhead_cli.local.kubelet import Kubelet, remove_boards
from thunderhead_cli.local.process import session_members

FAILS = """
import os, pathlib
pathlib.Path(os.environ["THUNDERHEAD_TERMINATION_FILE"]).write_text("why")
raise SystemExit(78)
"""
OBEYS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
open("up", "w").close()
signal.pause()
"""
REFUSES = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("up", "w").close()
while True:
    signal.pause()
"""
SERVES = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args): pass
address = os.environ["THUNDERHEAD_AGENT_HOST"], int(os.environ["THUNDERHEAD_AGENT_PORT"])
server = http.server.HTTPServer(address, Handler)
open("agent.port", "w").write(str(server.server_port))
server.serve_forever()
"""


class OneDict:
    """A cluster that remembers what was reported."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.reports: list[tuple[str, Mapping[str, Any]]] = []
        self.maps: dict[str, dict[str, str]] = {}

    def add(self, node_rank: int = 0, **spec: Any) -> dict[str, Any]:
        name = f"job-1-{node_rank}"
        labels = {"thunderhead.dev/attempt": "1", "thunderhead.dev/node-rank": str(node_rank)}
        meta: dict[str, Any] = {"name": name, "uid": f"uid-{node_rank}", "labels": labels}
        pod = {"metadata": meta, "spec": {"containers": [{"name": "trainer"}], **spec}}
        self.objects[meta["uid"]] = pod
        return pod

    def pods(self) -> list[dict[str, Any]]:
        return list(self.objects.values())

    def config_maps(self) -> Mapping[str, Mapping[str, str]]:
        return self.maps

    def secrets(self) -> Mapping[str, Mapping[str, str]]:
        return {}

    def bind(self, name: str, uid: str, node: str) -> None:
        self.objects[uid]["spec"]["nodeName"] = node

    def report(self, name: str, uid: str, status: Mapping[str, Any]) -> None:
        self.reports.append((name, status))

    def remove(self, name: str, uid: str) -> None:
        del self.objects[uid]


def kubelet(cluster: OneDict, tmp_path: Path, code: str) -> Kubelet:
    return Kubelet(
        store=cluster,
        pod_dir=lambda name: tmp_path / name,
        here=tmp_path,
        environment={"CUDA_VISIBLE_DEVICES": ""},
        now=lambda: datetime.now(UTC),
        command=(sys.executable, "-c", code),
    )


async def next_end(kubelet: Kubelet) -> None:
    async with asyncio.timeout(60):
        await kubelet.changed.wait()
    kubelet.changed.clear()
    await asyncio.sleep(0)  # the watcher that set it is done after one more turn of the loop


def is_up(tmp_path: Path, name: str = "job-1-0") -> bool:
    return (tmp_path / name / "run/up").exists()


async def until_up(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        while not is_up(tmp_path):  # noqa: ASYNC110 - another process makes the file
            await asyncio.sleep(0.02)


async def test_end_is_reported_with_code_and_message(tmp_path: Path) -> None:
    cluster = OneDict()
    cluster.add()
    runner = kubelet(cluster, tmp_path, FAILS)
    await runner.sync()
    assert cluster.reports[-1][1]["phase"] == "Running"
    assert cluster.objects["uid-0"]["spec"]["nodeName"] == "local-0"
    await next_end(runner)
    await runner.sync()
    status = cluster.reports[-1][1]
    end = status["containerStatuses"][0]["state"]["terminated"]
    assert (status["phase"], end["exitCode"], end["message"]) == ("Failed", 78, "why")
    count = len(cluster.reports)
    await runner.sync()
    assert len(cluster.reports) == count, "the end is reported once"
    assert cluster.objects, "an ended pod stays until somebody deletes it"


async def test_deletion_asks_first_and_leaves_the_evidence(tmp_path: Path) -> None:
    cluster = OneDict()
    pod = cluster.add()
    runner = kubelet(cluster, tmp_path, OBEYS)
    await runner.sync()
    await until_up(tmp_path)
    pod["metadata"]["deletionTimestamp"] = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    await runner.sync()
    await next_end(runner)
    await runner.sync()
    assert cluster.reports[-1][1]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 75
    assert cluster.objects
    await runner.sync()
    assert not cluster.objects


async def test_who_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    cluster = OneDict()
    pod = cluster.add()
    runner = kubelet(cluster, tmp_path, REFUSES)
    await runner.sync()
    await until_up(tmp_path)
    pod["metadata"]["deletionTimestamp"] = datetime.now(UTC).isoformat()
    await runner.sync()
    await next_end(runner)
    await runner.sync()
    end = cluster.reports[-1][1]["containerStatuses"][0]["state"]["terminated"]
    assert (end["exitCode"], end["signal"]) == (137, 9)


async def test_forced_deletion_kills_at_once(tmp_path: Path) -> None:
    cluster = OneDict()
    cluster.add()
    runner = kubelet(cluster, tmp_path, REFUSES)
    await runner.sync()
    process = runner.running(0)
    assert process is not None
    cluster.objects.clear()
    await runner.sync()
    assert session_members(process.process.pid) == []
    assert runner.running(0) is None


async def test_ready_once_the_agent_answers(tmp_path: Path) -> None:
    cluster = OneDict()
    cluster.add()
    runner = kubelet(cluster, tmp_path, SERVES)
    async with asyncio.timeout(60):
        while not runner._pods or not runner._pods["uid-0"].ready:
            await runner.sync()
    ready = [status["containerStatuses"][0]["ready"] for _, status in cluster.reports]
    assert ready == [False, True]
    await runner.close()


async def test_missing_config_map_is_waited_for(tmp_path: Path) -> None:
    cluster = OneDict()
    mounts = [{"name": "job", "mountPath": "/etc/thunderhead/job"}]
    container = {"name": "trainer", "volumeMounts": mounts}
    cluster.add(containers=[container], volumes=[{"name": "job", "configMap": {"name": "job-1"}}])
    runner = kubelet(cluster, tmp_path, FAILS)
    await runner.sync()
    waiting = cluster.reports[-1][1]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": "configmap 'job-1' not found"}
    cluster.maps["job-1"] = {"job.json": "{}"}
    await runner.sync()
    assert (tmp_path / "job-1-0/root/etc/thunderhead/job/job.json").read_text() == "{}"
    await next_end(runner)


async def test_pods_of_one_attempt_share_the_rendezvous(tmp_path: Path) -> None:
    cluster = OneDict()
    cluster.add(0)
    cluster.add(1)
    runner = kubelet(cluster, tmp_path, "pass")
    await runner.sync()
    told = {pod.launch.env["THUNDERHEAD_RENDEZVOUS_PORT"] for pod in runner._pods.values()}
    assert len(told) == 1
    assert int(told.pop()) > 0
    await runner.close()


def test_boards_of_this_job_alone_are_removed(tmp_path: Path) -> None:
    for name in ("thunderhead-a-1-0.board", "thunderhead-a-2-3.board", "thunderhead-b-1-0.board", "other"):
        (tmp_path / name).touch()
    remove_boards("a", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "thunderhead-b-1-0.board"]
