"""The safety net: what changed unnoticed gets a pass, and a watch that has gone deaf is told."""

from __future__ import annotations

import pytest
from op_world import KEY, NAME, NAMESPACE, job

from thunderhead_api.treaty import KIND, Label
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.control.queue import Key
from thunderhead_operator.control.resync import Resync
from thunderhead_operator.plan.objects import Manifest, Obj


class Net:
    """A resync with its watch; ``deaf``: kinds whose events get lost."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.woken: list[Key] = []
        self.deaf: set[str] = set()
        self.time = 0.0
        self.resync = Resync(self.cluster, namespaces=(None,), wake=self.woken.append, monotonic=lambda: self.time)
        self.cluster.watch(self.saw)

    def saw(self, event: str, kind: str, obj: Obj) -> None:
        if kind not in self.deaf:
            self.resync.heard(event, obj)

    async def listed(self) -> list[Key]:
        """Keys woken by one more listing."""
        self.woken.clear()
        await self.resync.once()
        return list(self.woken)


def pod(name: str = "digits-1-0") -> Manifest:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {Label.JOB.value: NAME}},
        "spec": {},
    }


@pytest.fixture
def net() -> Net:
    return Net()


async def test_only_what_changed_is_woken(net: Net) -> None:
    net.cluster.create(job())
    net.cluster.create(job("other"))
    assert await net.listed() == [KEY, (NAMESPACE, "other")]
    assert await net.listed() == []
    net.cluster.create(pod())
    assert await net.listed() == [KEY]
    net.cluster.set_pod_status(NAMESPACE, "digits-1-0", {"phase": "Running"})
    assert await net.listed() == [KEY]
    net.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
    assert await net.listed() == [KEY]
    net.cluster.remove(KIND, *KEY)
    assert await net.listed() == [KEY], "its memory is to be forgotten"
    assert await net.listed() == []


@pytest.mark.parametrize("kind", [KIND, "Pod"])
async def test_a_deaf_watch_is_told_after_two_listings(net: Net, kind: str) -> None:
    net.cluster.create(job())
    net.cluster.create(pod())
    await net.listed()
    net.deaf = {kind}
    net.cluster.edit(KIND, *KEY, lambda o: o["spec"].update(seed=1))
    net.cluster.set_pod_status(NAMESPACE, "digits-1-0", {"phase": "Running"})
    await net.listed()
    assert net.resync.deaf == frozenset()
    await net.listed()
    assert net.resync.deaf == {kind}


async def test_a_late_event_is_no_deafness(net: Net) -> None:
    net.cluster.create(job())
    await net.listed()
    net.deaf = {KIND}
    changed = net.cluster.edit(KIND, *KEY, lambda o: o["spec"].update(seed=1))
    await net.listed()
    net.resync.heard("MODIFIED", changed)
    await net.listed()
    assert net.resync.deaf == frozenset()


async def test_objects_that_come_and_go_unheard_are_forgotten(net: Net) -> None:
    net.cluster.create(job())
    net.deaf = {KIND}
    net.cluster.create(job("brief"))
    await net.listed()
    net.cluster.remove(KIND, NAMESPACE, "brief")
    await net.listed()
    assert net.resync.deaf == frozenset()


async def test_it_says_when_it_last_worked(net: Net) -> None:
    net.time = 42.0
    await net.listed()
    assert net.resync.done_at == 42.0


async def test_several_namespaces() -> None:
    cluster = MemoryCluster()
    woken: list[Key] = []
    for namespace in ("one", "two", "three"):
        manifest = job()
        manifest["metadata"]["namespace"] = namespace
        cluster.create(manifest)
    resync = Resync(cluster, namespaces=("one", "two"), wake=woken.append, monotonic=lambda: 0.0)
    await resync.once()
    assert woken == [("one", NAME), ("two", NAME)]
