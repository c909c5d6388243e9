"""Jobs and namespaces that are deleted: nothing of them is worth waiting for, and nothing new comes."""

from __future__ import annotations

import pytest
from op_kubelet import done_after
from op_world import KEY, NAME, NAMESPACE, World

from thunderhead_api.treaty import KIND
from thunderhead_operator.plan.clock import parse_time


async def running() -> World:
    world = World(done_after(600))
    world.submit()
    await world.run(lambda w: len(w.pods()) == 2 and w.status.pods_created_at is not None)
    await world.tick(3)
    return world


@pytest.mark.parametrize("how", ["gone", "going"])
async def test_pods_of_a_deleted_job_get_seconds_not_the_grace_of_a_checkpoint(how: str) -> None:
    world = await running()
    world.kubelets.slow = set(world.pods())
    if how == "gone":
        world.cluster.remove(KIND, *KEY)
    else:  # in the foreground: the job stays until what it owns is gone
        world.cluster.edit(KIND, *KEY, lambda o: o["metadata"].update(deletionTimestamp="2026-01-01T00:00:09Z"))
    await world.drain()
    pods = world.pods().values()
    assert len(pods) == 2
    for pod in pods:
        due = parse_time(pod["metadata"]["deletionTimestamp"])
        assert (due - world.time).total_seconds() <= 5, "the template's grace is 30 s"
    await world.tick(2)
    assert set(world.pods()) == {"digits-1-0", "digits-1-1"}, "no other attempt"


async def test_who_only_bears_the_label_is_left_alone() -> None:
    world = await running()
    stranger = {"kind": "Pod", "metadata": {"name": "stranger", "namespace": NAMESPACE}, "spec": {"nodeName": "node-0"}}
    stranger["metadata"] |= {"labels": {"thunderhead.dev/job": NAME, "thunderhead.dev/attempt": "1"}}  # type: ignore[operator]
    world.cluster.create(stranger)
    world.cluster.remove(KIND, *KEY)
    await world.drain()
    assert "deletionTimestamp" not in world.pods()["stranger"]["metadata"]


async def test_a_namespace_that_is_being_deleted_gets_no_other_attempt() -> None:
    world = await running()
    world.cluster.going.add(NAMESPACE)
    for name in list(world.pods()):
        world.cluster.delete_pod(NAMESPACE, name)
    await world.tick(30)
    assert world.pods() == {}
    assert world.status.attempt == 1
    assert world.status.ending is not None
    assert world.failures == 0
    world.cluster.going.clear()  # somebody else of that name would be another namespace; this one only proves the wait
    await world.tick(10)
    assert world.status.attempt == 2


async def test_pods_that_somebody_deleted_are_replaced_elsewhere() -> None:
    world = await running()
    world.cluster.delete_pod(NAMESPACE, "digits-1-1", grace_s=0)
    await world.run(lambda w: w.status.attempt == 2, limit=30)
