"""What jobs see of an API server that was away for a while."""

from __future__ import annotations

import pytest
from op_kubelet import done_after
from op_world import NAMESPACE, World

from thunderhead_api.treaty import Cause


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_eviction_after_the_api_server_was_away_is_a_lost_node(restarted: bool) -> None:
    """On its return every node's lease is stale: its pods are called not ready, and evicted seconds later, when their
    kubelet has reported again. That is no drain."""
    world = World(done_after(60))
    world.submit()
    await world.run(lambda w: len(w.pods()) == 2 and w.status.pods_created_at is not None)
    await world.tick(3)

    def ready(value: str) -> None:
        conditions = [{"type": "Ready", "status": value}, {"type": "ContainersReady", "status": "True"}]
        world.cluster.set_pod_status(NAMESPACE, "digits-1-1", {"conditions": conditions})

    ready("False")
    if restarted:
        world.restart_operator()
        await world.drain()
    ready("True")
    await world.drain()
    pod = world.pods()["digits-1-1"]
    evicted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    world.cluster.set_pod_status(NAMESPACE, "digits-1-1", {"conditions": [*pod["status"]["conditions"], evicted]})
    world.cluster.delete_pod(NAMESPACE, "digits-1-1")
    await world.run(lambda w: bool(w.status.ledger))
    (entry,) = world.status.ledger
    assert (entry.cause, entry.free) == (Cause.NODE_LOST, True)
    assert entry.culprit is not None
    assert entry.culprit.message == "Kubernetes had no word of node node-1 and evicted the pod"
