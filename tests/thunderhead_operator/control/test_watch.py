"""Watches over HTTP: what is told, from where they go on after any break, and what a tenant cannot do to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kubernetes.aio.client import Configuration
from op_server import ApiServer
from op_world import NAME, NAMESPACE, job

from thunderhead_api.treaty import KIND, Label
from thunderhead_operator.cluster.client import KubernetesCluster, make_client
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.control import watch
from thunderhead_operator.control.watch import Watcher
from thunderhead_operator.plan.objects import Manifest, Obj

WAIT_S = 30.0
Told = tuple[str | None, str, str]


class Ear:
    def __init__(self) -> None:
        self.told: list[Told] = []
        self.objects: list[Obj] = []
        self.changed = asyncio.Condition()

    def tell(self, event: str | None, kind: str, obj: Obj) -> None:
        self.told.append((event, kind, obj["metadata"]["name"]))
        self.objects.append(obj)
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, *wanted: Told) -> None:
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(lambda: set(wanted) <= set(self.told))


@pytest.fixture
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second before the first try again doubles to seconds."""
    monkeypatch.setattr(watch, "WAIT_FIRST_S", 0.001)


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(MemoryCluster())


@asynccontextmanager
async def listening(server: ApiServer, *kinds: str) -> AsyncIterator[Ear]:
    ear = Ear()
    async with server.serve() as url:
        api = KubernetesCluster(make_client(Configuration(host=url)))
        watchers = [Watcher(api, kind=kind, namespace=None, tell=ear.tell, jitter=lambda: 0.0) for kind in kinds]
        tasks = [asyncio.create_task(watcher.run()) for watcher in watchers]
        await eventually(lambda: len(server.watches) == len(kinds))
        try:
            yield ear
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await api.close()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that another task does and tells nobody of."""
    async with asyncio.timeout(WAIT_S):
        for _ in iter(condition, True):
            await asyncio.sleep(0.01)


def pod(name: str, **labels: str) -> Manifest:
    return {"kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "spec": {}}


async def test_it_tells_of_jobs_and_of_what_bears_our_label_and_writes_nothing(server: ApiServer) -> None:
    server.cluster.create(job())
    before = server.cluster.get(KIND, NAMESPACE, NAME)
    async with listening(server, KIND, "Pod", "Service") as ear:
        await ear.until((None, KIND, NAME))
        server.cluster.create(pod("digits-1-0", **{Label.JOB.value: NAME}))
        server.cluster.create(pod("stranger"))
        server.cluster.create({**pod(NAME, **{Label.JOB.value: NAME}), "kind": "Service"})
        server.cluster.set_pod_status(NAMESPACE, "digits-1-0", {"phase": "Running"})
        server.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
        server.cluster.remove("Service", NAMESPACE, NAME)
        server.cluster.edit(KIND, NAMESPACE, NAME, lambda o: o["spec"].update(seed=1))
        await ear.until(("DELETED", "Pod", "digits-1-0"), ("DELETED", "Service", NAME), ("MODIFIED", KIND, NAME))
        assert not any(name == "stranger" for _, _, name in ear.told)
        seen = dict(zip(ear.told, ear.objects, strict=True))
        assert seen["DELETED", "Pod", "digits-1-0"]["status"]["phase"] == "Running", "the last sight of a pod"
        assert seen["MODIFIED", KIND, NAME].keys() == {"metadata"}
        assert {method for method, _ in server.requests} == {"GET"}
        assert ("Pod", Label.JOB.value) in server.selectors, "the server selects, not we"
    after = server.cluster.get(KIND, NAMESPACE, NAME)["metadata"]
    assert set(after) == set(before["metadata"]), "no annotation, no finalizer"


BROKEN: list[tuple[str, Any]] = [
    ("expired", {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}),
    ("another error of the server", {"type": "ERROR", "object": {"kind": "Status", "code": 500}}),
    ("too many requests", {"type": "ERROR", "object": {"kind": "Status", "code": 429}}),
    ("no event", {"type": "SURPRISE", "object": {}}),
    ("no object", []),
    ("no JSON", b"{"),
    ("too deep", b'{"type": "ADDED", "object": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
]


@pytest.mark.usefixtures("_hurry")
@pytest.mark.parametrize(("name", "line"), BROKEN, ids=[name for name, _ in BROKEN])
async def test_after_any_break_it_hears_again(server: ApiServer, name: str, line: Any) -> None:
    server.cluster.create(job())
    async with listening(server, KIND) as ear:
        server.say(KIND, line if isinstance(line, bytes) else json.dumps(line).encode())
        await eventually(lambda: len(server.selectors) == 2)
        server.cluster.create(job("later"))
        await eventually(lambda: any(told == "later" for _, _, told in ear.told))


async def test_a_connection_that_broke_is_taken_up_where_it_broke(server: ApiServer) -> None:
    async with listening(server, "Pod") as ear:
        server.cluster.create(pod("digits-1-0", **{Label.JOB.value: NAME}))
        await ear.until(("ADDED", "Pod", "digits-1-0"))
        lists = len(server.requests)
        server.say("Pod", None)  # the line is cut
        await eventually(lambda: not server.watches)
        server.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
        await ear.until(("DELETED", "Pod", "digits-1-0"))
        assert len(server.requests) == lists + 1, "no list: it would not tell of the deletion"


@pytest.mark.usefixtures("_hurry")
@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500, 503])
async def test_an_api_server_that_refuses_for_a_while_ends_nothing(server: ApiServer, status: int) -> None:
    server.cluster.create(job())
    async with listening(server, KIND) as ear:
        ear.told.clear()
        server.fail_next = [(status, {}, {"message": "not now"})] * 4
        server.break_watches(KIND)
        await eventually(lambda: len(server.selectors) == 2)
        server.cluster.create(job("later"))
        await eventually(lambda: any(told == "later" for _, _, told in ear.told))


async def test_whatever_a_tenant_writes_others_are_heard(server: ApiServer) -> None:
    async with listening(server, KIND) as ear:
        poison = (
            '{"type": "ADDED", "object": {"metadata": {"name": "poison", "namespace": "a", "uid": "p"}, "spec": @}}'
        )
        server.say(KIND, poison.replace("@", "[" * 9_000 + "]" * 9_000).encode())
        server.say(KIND, poison.replace("@", '{"a": ' * 5_000 + "1" + "}" * 5_000).encode())
        server.cluster.create(job("later"))
        await ear.until(("ADDED", KIND, "poison"), ("ADDED", KIND, "later"))
        assert len(server.watches) == 1
