"""One of several operators works; the next takes over when the first is silent, and at once when it says good-bye."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from op_faults import Flaky
from op_time import virtually

from thunderhead_operator.cluster.errors import Unavailable
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.control.lease import CLOCK_SKEW_S, DURATION_S, RENEW_S, Lease


def clock() -> float:
    return asyncio.get_running_loop().time()


def lease(cluster: MemoryCluster, identity: str) -> Lease:
    return Lease(
        cluster,
        namespace="system",
        name="operator",
        identity=identity,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=clock()),
        monotonic=clock,
    )


def scenario(test: Callable[[MemoryCluster], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(MemoryCluster())

    virtually(main())


def holder(cluster: MemoryCluster) -> str:
    return str(cluster.get("Lease", "system", "operator")["spec"]["holderIdentity"])


def test_the_first_takes_it_and_the_second_waits_until_it_expires() -> None:
    async def test(cluster: MemoryCluster) -> None:
        first, second = lease(cluster, "a"), lease(cluster, "b")
        await first.acquire()
        assert (first.is_held, holder(cluster), clock()) == (True, "a", 0)
        await second.acquire()
        assert holder(cluster) == "b"
        assert DURATION_S < clock() <= DURATION_S + RENEW_S
        assert cluster.get("Lease", "system", "operator")["spec"]["leaseTransitions"] == 2

    scenario(test)


def test_who_renews_keeps_it() -> None:
    async def test(cluster: MemoryCluster) -> None:
        first, second = lease(cluster, "a"), lease(cluster, "b")
        await first.acquire()
        holding, waiting = asyncio.create_task(first.hold()), asyncio.create_task(second.acquire())
        await asyncio.sleep(10 * DURATION_S)
        assert holder(cluster) == "a"
        assert not holding.done()
        for task in (holding, waiting):
            task.cancel()
        await asyncio.gather(holding, waiting, return_exceptions=True)
        assert not first.is_held

    scenario(test)


def test_the_same_process_again_takes_it_back_at_once() -> None:
    async def test(cluster: MemoryCluster) -> None:
        await lease(cluster, "a").acquire()
        await lease(cluster, "a").acquire()
        assert clock() == 0

    scenario(test)


def test_a_released_lease_is_free_at_once() -> None:
    async def test(cluster: MemoryCluster) -> None:
        first = lease(cluster, "a")
        await first.acquire()
        await first.release()
        assert holder(cluster) == ""
        await lease(cluster, "b").acquire()
        assert clock() == 0
        await first.release()
        assert holder(cluster) == "b", "nobody releases what is another's"

    scenario(test)


def test_who_cannot_renew_stops_before_another_may_begin() -> None:
    async def test(cluster: MemoryCluster) -> None:
        broken = False
        api = Flaky(cluster, lambda name: (Unavailable("cut off"), False) if broken else None)
        first = lease(api, "a")  # type: ignore[arg-type]  # a proxy
        await first.acquire()
        broken = True
        await first.hold()
        assert not first.is_held
        assert clock() < DURATION_S

    scenario(test)


def test_who_was_replaced_stops(caplog: pytest.LogCaptureFixture) -> None:
    async def test(cluster: MemoryCluster) -> None:
        first = lease(cluster, "a")
        await first.acquire()
        cluster.edit("Lease", "system", "operator", lambda o: o["spec"].update(holderIdentity="b"))
        await first.hold()
        assert clock() == RENEW_S

    scenario(test)
    assert "is lost" in caplog.text


def test_the_lease_of_one_who_died_long_ago_is_taken_at_once() -> None:
    async def test(cluster: MemoryCluster) -> None:
        await lease(cluster, "a").acquire()
        await asyncio.sleep(DURATION_S + CLOCK_SKEW_S - 1)
        waits = asyncio.create_task(lease(cluster, "b").acquire())
        await asyncio.sleep(0)
        assert not waits.done(), "clocks may differ by so much"
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        await asyncio.sleep(2)
        before = clock()
        await lease(cluster, "c").acquire()
        assert clock() == before

    scenario(test)
