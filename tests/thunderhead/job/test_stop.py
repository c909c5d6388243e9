"""All ranks stop at one moment, whatever they were doing when it was asked for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from thunderhead.job.errors import NoAgreement
from thunderhead.job.link import Ask
from thunderhead.job.stop import NEVER, StopAgreement, boundary_tick, evaluation_tick


class DictStore:
    """A store in memory, with the four calls the agreement makes."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def set(self, key: str, value: str, /) -> None:
        with self._lock:
            self.values[key] = value.encode()

    def get(self, key: str, /) -> bytes:
        return self.values[key]

    def check(self, keys: list[str], /) -> bool:
        return all(key in self.values for key in keys)

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        with self._lock:
            return self.values.setdefault(key, desired.encode())


def test_ticks_are_ordered() -> None:
    """Step 3, the batches of its two validation loaders and their ends, the boundary before step 4."""
    ticks = [
        boundary_tick(2),
        evaluation_tick(3, 0, 0),
        evaluation_tick(3, 0, 1),
        evaluation_tick(3, 0, None),
        evaluation_tick(3, 1, 0),
        evaluation_tick(3, 1, None),
        boundary_tick(3),
    ]
    assert ticks == sorted(set(ticks))


class Rank:
    """A training thread that passes ticks in order until all agree to stop."""

    def __init__(self, control: StopAgreement, ticks: list[int], pace: Callable[[], None]) -> None:
        self.control = control
        self.ticks = ticks
        self.pace = pace
        self.acted: list[tuple[Ask, int]] = []
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        for tick in self.ticks:
            self.control.running = tick + 1
            if tick >= self.control.limit:
                ask = self.control.resolve(tick)
                if ask is not None:
                    self.acted.append((ask, tick))
                    if ask is Ask.STOP:
                        return
            self.pace()


def _race(seed: int, world_size: int, asker: int, asks: list[Ask]) -> list[list[tuple[Ask, int]]]:
    """Ranks that run freely at random paces; one of them asks at a random moment."""
    store = DictStore()
    chance = random.Random(seed)
    controls = [
        StopAgreement(store=store, rank=rank, world_size=world_size, poll_s=0.001).start() for rank in range(world_size)
    ]
    ranks = [Rank(control, list(range(100_000)), lambda: time.sleep(chance.random() / 2000)) for control in controls]
    for rank in ranks:
        rank.thread.start()
    for ask in asks:
        time.sleep(chance.random() / 50)
        controls[asker].request(ask)
    for rank in ranks:
        rank.thread.join(30)
    for control in controls:
        control.close()
    return [rank.acted for rank in ranks]


@pytest.mark.parametrize("seed", range(8))
def test_free_running_ranks_stop_at_one_tick(seed: int) -> None:
    acted = _race(seed, 3, seed % 3, [Ask.STOP])
    assert acted[0] == acted[1] == acted[2], f"seed {seed}"
    assert [ask for ask, _ in acted[0]] == [Ask.STOP]


def test_a_save_and_then_a_stop() -> None:
    acted = _race(1, 2, 1, [Ask.SAVE, Ask.STOP])
    assert acted[0] == acted[1]
    assert [ask for ask, _ in acted[0]][-1] is Ask.STOP
    assert acted[0][0][0] in (Ask.SAVE, Ask.STOP)


def test_the_largest_promise_wins() -> None:
    """Rank 0 is in step 5, rank 1 in step 7: both go on to the end of step 7."""
    store = DictStore()
    controls = [StopAgreement(store=store, rank=rank, world_size=2, poll_s=0.001) for rank in range(2)]
    controls[0].running, controls[1].running = boundary_tick(4) + 1, boundary_tick(6) + 1
    for control in controls:
        control.start()
    controls[0].request(Ask.STOP)
    # The end of step 5 is the first tick at which rank 0 looks.
    assert controls[0].resolve(boundary_tick(5)) is None
    assert controls[0].limit == boundary_tick(6) + 1
    assert controls[0].resolve(boundary_tick(7)) is Ask.STOP
    assert controls[1].resolve(boundary_tick(7)) is Ask.STOP
    for control in controls:
        control.close()


def test_a_rank_that_has_ended_its_validation_waits_for_nobody() -> None:
    """Rank 0 has evaluated its last batch; rank 1 is before batch 3: it abandons the rest at the loader's end."""
    store = DictStore()
    controls = [StopAgreement(store=store, rank=rank, world_size=2, poll_s=0.001) for rank in range(2)]
    controls[0].running = evaluation_tick(4, 0, 2) + 1
    controls[1].running = evaluation_tick(4, 0, None)
    for control in controls:
        control.start()
    controls[1].request(Ask.STOP)
    assert controls[0].resolve(evaluation_tick(4, 0, 3)) is None
    assert controls[0].resolve(evaluation_tick(4, 0, None)) is Ask.STOP
    assert controls[1].resolve(evaluation_tick(4, 0, None)) is Ask.STOP
    for control in controls:
        control.close()


def test_a_single_process_stops_at_its_next_tick() -> None:
    asked = threading.Event()
    control = StopAgreement(asked=asked.is_set, poll_s=0.001).start()
    control.running = 11
    assert control.limit == NEVER
    asked.set()
    assert control.resolve(11) is Ask.STOP
    control.close()


def test_a_silent_rank_is_named() -> None:
    control = StopAgreement(store=DictStore(), rank=0, world_size=3, poll_s=0.001, timeout_s=0.01).start()
    control.request(Ask.STOP)
    with pytest.raises(NoAgreement, match=r"ranks \[1, 2\] did not answer within 0.01 s"):
        control.resolve(0)
    control.close()


def test_closing_frees_a_waiting_rank() -> None:
    control = StopAgreement(store=DictStore(), rank=0, world_size=2, poll_s=0.001).start()
    control.request(Ask.STOP)
    waiting = threading.Thread(target=lambda: control.resolve(0))
    waiting.start()
    control.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_who_serves_the_store_stays_until_all_have_read_the_decision() -> None:
    class Slow(DictStore):
        """The promises of rank 0 reach rank 1 late."""

        def __init__(self, other: DictStore) -> None:
            super().__init__()
            self.set, self.get, self.compare_set = other.set, other.get, other.compare_set  # type: ignore[method-assign]
            self.all, self.shown = other, threading.Event()

        def check(self, keys: list[str], /) -> bool:
            return self.all.check(keys) and (len(keys) == 1 or self.shown.wait(60))

    store = DictStore()
    late = Slow(store)
    controls = [
        StopAgreement(store=found, rank=rank, world_size=2, poll_s=0.001) for rank, found in enumerate((store, late))
    ]
    for control in controls:
        control.start()
    controls[0].request(Ask.STOP)
    assert controls[0].resolve(boundary_tick(0)) is Ask.STOP
    closing = threading.Thread(target=controls[0].close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive(), "rank 0 left while rank 1 had not read the decision"
    late.shown.set()
    closing.join(60)
    assert not closing.is_alive()
    assert controls[1].resolve(boundary_tick(0)) is Ask.STOP
    controls[1].close()
