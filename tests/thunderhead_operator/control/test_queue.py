"""The queue, in virtual time: each key once, never twice at once, later and later after failures."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from op_time import virtually

from thunderhead_operator.cluster.errors import Conflict, Throttled, Unavailable
from thunderhead_operator.control.queue import Key, WorkQueue

A, B = ("team", "a"), ("team", "b")


class Log:
    """Passes with their begin and end in virtual seconds."""

    def __init__(self, takes: float = 0.0, answers: list[float | Exception | None] | None = None) -> None:
        self.takes = takes
        self.answers = answers or []
        self.begun: list[tuple[Key, float]] = []
        self.running: set[Key] = set()
        self.most = 0

    async def __call__(self, key: Key) -> float | None:
        assert key not in self.running, "two passes of one key at once"
        self.running.add(key)
        self.most = max(self.most, len(self.running))
        self.begun.append((key, round(asyncio.get_running_loop().time(), 3)))
        await asyncio.sleep(self.takes)
        self.running.discard(key)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def run(log: Log, feed: Callable[[WorkQueue], Awaitable[None]], workers: int = 4, jitter: float = 1.0) -> None:
    async def main() -> None:
        queue = WorkQueue(log, jitter=lambda: jitter, workers=workers)
        queue.start()
        await feed(queue)
        assert queue.is_alive()
        await queue.stop()
        assert not queue.is_alive()

    virtually(main())


def test_a_key_waits_once_however_often_it_is_added() -> None:
    log = Log()

    async def feed(queue: WorkQueue) -> None:
        for _ in range(5):
            queue.add(A)
        assert len(queue) == 1
        await asyncio.sleep(1)

    run(log, feed)
    assert log.begun == [(A, 0)]


def test_a_key_added_during_its_pass_runs_again_after_it() -> None:
    log = Log(takes=2)

    async def feed(queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(1)
        queue.add(A)
        queue.add(A)
        await asyncio.sleep(10)

    run(log, feed)
    assert log.begun == [(A, 0), (A, 2)]


def test_keys_run_beside_each_other_up_to_the_workers() -> None:
    log = Log(takes=1)

    async def feed(queue: WorkQueue) -> None:
        for number in range(10):
            queue.add(("team", str(number)))
        await asyncio.sleep(20)

    run(log, feed, workers=3)
    assert log.most == 3
    assert len(log.begun) == 10


def test_a_pass_says_when_the_next_is_due() -> None:
    log = Log(answers=[5.0, 0.0, None])

    async def feed(queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(100)

    run(log, feed)
    assert log.begun == [(A, 0), (A, 5), (A, 5)]


def test_the_sooner_timer_wins_and_an_event_beats_both() -> None:
    log = Log()

    async def feed(queue: WorkQueue) -> None:
        queue.later(A, 10)
        queue.later(A, 3)
        queue.later(A, 8)
        queue.later(B, 50)
        assert queue.next_timer == 3
        await asyncio.sleep(5)
        queue.add(B)
        await asyncio.sleep(100)

    run(log, feed)
    assert log.begun == [(A, 3), (B, 5)]


@pytest.mark.parametrize(("jitter", "gaps"), [(1.0, [0.1, 0.2, 0.4, 0.8]), (0.0, [0.05, 0.1, 0.2, 0.4])])
def test_failures_wait_longer_and_longer_with_jitter(jitter: float, gaps: list[float]) -> None:
    log = Log(answers=[Unavailable("down")] * 4)

    async def feed(queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(100)

    run(log, feed, jitter=jitter)
    times = [time for _, time in log.begun]
    assert [round(b - a, 3) for a, b in itertools.pairwise(times)] == gaps


def test_a_success_forgets_the_failures() -> None:
    log = Log(answers=[Conflict("changed"), Conflict("changed"), 1.0, Conflict("changed"), None])

    async def feed(queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(100)

    run(log, feed)
    assert [time for _, time in log.begun] == [0, 0.1, 0.3, 1.3, 1.4]


def test_backoff_has_an_end_and_the_server_may_ask_for_more() -> None:
    log = Log(answers=[*[Unavailable("down")] * 20, Throttled("later", retry_after_s=500.0)])

    async def feed(queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(5000)

    run(log, feed)
    times = [time for _, time in log.begun]
    assert round(times[20] - times[19], 3) == 60
    assert round(times[21] - times[20], 3) == 500


def test_an_error_of_ours_stops_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    log = Log(answers=[KeyError("ours"), None, None])

    async def feed(queue: WorkQueue) -> None:
        queue.add(A)
        queue.add(B)
        await asyncio.sleep(1)

    run(log, feed, workers=1)
    assert [key for key, _ in log.begun] == [A, B, A]
    assert "KeyError" in caplog.text


def test_stopping_lets_a_quick_pass_end_and_takes_no_more() -> None:
    log = Log(takes=2)

    async def main() -> None:
        queue = WorkQueue(log, jitter=lambda: 1.0)
        queue.start()
        queue.add(A)
        await asyncio.sleep(1)
        queue.later(B, 1)
        await queue.stop(timeout_s=5)
        queue.add(B)
        queue.later(B, 0.1)
        assert asyncio.get_running_loop().time() == 2
        await asyncio.sleep(10)

    virtually(main())
    assert log.begun == [(A, 0)]
    assert not log.running


def test_stopping_cancels_a_slow_pass() -> None:
    log = Log(takes=1000)

    async def main() -> None:
        queue = WorkQueue(log, jitter=lambda: 1.0)
        queue.start()
        queue.add(A)
        await asyncio.sleep(1)
        await queue.stop(timeout_s=5)
        assert asyncio.get_running_loop().time() == 6

    virtually(main())
