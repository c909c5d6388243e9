"""The operator without a shell: fed by a watch, it takes a job from create to the end by itself, in virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from op_kubelet import Kubelets, done_after
from op_time import virtually
from op_world import KEY, NAME, NAMESPACE, START, job

from thunderhead_api.messages import StatusReply
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import KIND, Cause, Phase
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.control.engine import Operator
from thunderhead_operator.plan.config import Config


def test_from_create_to_complete_through_a_lost_pod() -> None:
    async def main() -> TrainingJobStatus:
        loop = asyncio.get_running_loop()

        def now():  # type: ignore[no-untyped-def]  # the loop's time
            return START + timedelta(seconds=loop.time())

        cluster = MemoryCluster(now)
        kubelets = Kubelets(cluster, now, lambda pod: done_after(20)(pod) if pod.attempt == 2 else None)

        async def agent(address: tuple[str, int], target: str) -> bytes:
            raw = cluster.get(KIND, *KEY)
            uid, attempt = raw["metadata"]["uid"], raw["status"]["attempt"]
            said = StatusReply(
                uid=uid,
                attempt=attempt,
                node_rank=0,
                phase="Train",
                world_size=2,
                ranks_met=2,
                first_step=10 * (attempt - 1),
                step=10 * attempt + 5,
                first_step_at=now().isoformat(),
            )
            return said.model_dump_json().encode()

        operator = Operator(cluster, Config(), now=now, monotonic=loop.time, jitter=lambda: 1.0, fetch=agent)
        cluster.watch(lambda event, kind, obj: operator.saw(event, kind, obj) if kind in (KIND, "Pod") else None)
        operator.start()
        cluster.create(job())
        for second in range(120):
            await asyncio.sleep(1)
            kubelets.tick()
            if second == 15:
                cluster.delete_pod(NAMESPACE, "digits-1-1", grace_s=0)
        assert operator.queue.idle
        await operator.stop()
        return TrainingJobStatus.model_validate(cluster.get(KIND, *KEY)["status"])

    status = virtually(main())
    assert status.phase is Phase.COMPLETE
    assert [e.cause for e in status.ledger] == [Cause.POD_DELETED, Cause.COMPLETED]
    lost = status.ledger[0]
    assert lost.culprit is not None
    assert (lost.culprit.pod, lost.culprit.node) == ("digits-1-1", "node-1"), "the last sight told where it was"
    assert lost.seconds_lost is not None
    assert status.last_recovery is not None
    assert (status.last_recovery.steps_lost, status.last_recovery.seconds) == (40, lost.seconds_lost)
    assert 0 < lost.seconds_lost < 30


def test_a_job_that_is_gone_is_forgotten() -> None:
    async def main() -> None:
        cluster = MemoryCluster()
        operator = Operator(cluster, Config())
        cluster.watch(lambda event, kind, obj: operator.saw(event, kind, obj) if kind in (KIND, "Pod") else None)
        operator.start()
        cluster.create(job(suspend=True))
        await asyncio.sleep(1)
        assert set(operator.reconciler.memories) == {KEY}
        cluster.remove(KIND, NAMESPACE, NAME)
        await asyncio.sleep(1)
        assert operator.reconciler.memories == {}
        await operator.stop()

    virtually(main())
