"""A job's life over the memory cluster: what a user sees, from create to the end."""

from __future__ import annotations

from op_kubelet import Pod, done_after, ends
from op_world import World, job

from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Cause, Outcome, Phase


async def test_create_run_complete() -> None:
    world = World(done_after(3))
    world.submit()
    await world.drain()
    assert set(world.pods()) == {"digits-1-0", "digits-1-1"}
    await world.finish()
    status = world.status
    assert status.phase is Phase.COMPLETE
    assert world.condition("Complete") == ("True", "Completed")
    assert world.condition("Failed") is None
    assert [(e.attempt, e.cause, e.last_step) for e in status.ledger] == [(1, Cause.COMPLETED, 100)]
    assert status.restarts.total == 0
    assert status.finished_at is not None
    assert set(world.pods()) == {"digits-1-0", "digits-1-1"}, "pods that stopped stay for their logs"


async def test_same_fault_every_time_fails_after_budget_plus_one() -> None:
    def crash(pod: Pod):  # type: ignore[no-untyped-def]  # a script
        if pod.age < 2:
            return None
        culprit = Culprit(rank=3, node_rank=1, exit_code=1, reason="ValueError", message="bad batch")
        return ends(pod, Outcome.FAILED if pod.rank == 1 else Outcome.PEER_FAILED, culprit, last=7)

    world = World(crash)
    world.submit(job(restarts={"maxRestarts": 2}))
    await world.finish()
    status = world.status
    assert world.condition("Failed") == ("True", "RestartsExhausted")
    assert [(e.attempt, e.cause, e.free) for e in status.ledger] == [
        (n, Cause.PROCESS_FAILED, False) for n in (1, 2, 3)
    ]
    assert status.restarts.charged == 2
    assert status.ledger[0].culprit is not None
    assert status.ledger[0].culprit.pod == "digits-1-1"
    assert "ValueError" in world.message("Failed")
    assert "bad batch" in world.message("Failed")
    assert {p["metadata"]["labels"]["thunderhead.dev/attempt"] for p in world.pods().values()} == {"3"}
