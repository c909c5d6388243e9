"""The pace of calls: as many at once as may be, then so many a second, and the Lease beside them."""

from __future__ import annotations

import pytest

from thunderhead_operator.cluster.pace import Pace


class Clock:
    """Time that passes where somebody sleeps, for all of them at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize(
    ("qps", "burst", "calls", "slept"),
    [
        (0, 1, 1000, []),
        (10, 3, 3, []),
        (10, 3, 6, [0.1, 0.2, 0.3]),
        (0.5, 1, 3, [2.0, 4.0]),
    ],
)
async def test_calls_at_one_moment(qps: float, burst: int, calls: int, slept: list[float]) -> None:
    clock = Clock()
    pace = Pace(qps, burst, monotonic=lambda: clock.now, sleep=clock.sleep)
    for _ in range(calls):
        await pace.turn()
    assert clock.slept == pytest.approx(slept)


async def test_a_rest_fills_the_bucket_and_no_more() -> None:
    clock = Clock()
    pace = Pace(10, 3, monotonic=lambda: clock.now, sleep=clock.sleep)
    for _ in range(3):
        await pace.turn()
    clock.now = 3600.0
    for _ in range(4):
        await pace.turn()
    assert clock.slept == pytest.approx([0.1])
