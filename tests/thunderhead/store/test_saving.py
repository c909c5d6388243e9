"""A save that the store does not take: skipped by all ranks together, tried again where it must not be, never twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from store_faults import unseen

from thunderhead.job.errors import Stopped, StorageRefused, StorageUnavailable
from thunderhead.job.link import Restored, Skipped
from thunderhead.job.parts import REPLICATED, parts_of
from thunderhead.store import CheckpointSettings, Execution, limits, watch
from thunderhead.store.exchange import LocalExchange
from thunderhead.store.job_checkpoints import ExecutionCheckpoints
from thunderhead.store.memory import MemoryStore, Operation
from thunderhead.store.objects import PreconditionFailed, Unavailable
from thunderhead.store.trouble import TOLERATED_REFUSALS

AWAY = Unavailable("PutObject of s3://b/k at http://s3: SlowDown (503)")
DENIED = StorageRefused(
    "PutObject of s3://b/k at http://s3: AccessDenied (403); grant the credentials in the Secret 's'"
)


@dataclass
class World:
    """A job whose ranks are threads, each with a way of its own to the same objects."""

    ranks: int = 1
    objects: dict[str, bytes] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)
    matching: str = ""
    reads: bool = False
    lost: bool = False
    slept: list[float] = field(default_factory=list)
    calls: list[tuple[int, Operation]] = field(default_factory=list)
    asked: bool = False
    on_back: Callable[[], None] | None = None
    attempts: int = 0
    patience_s: float = 0

    def run(self, live: Callable[[ExecutionCheckpoints, int], Any], ranks: int | None = None) -> list[Any]:
        """What each rank returned, or ended with."""
        exchange, self.attempts = LocalExchange(), self.attempts + 1
        count = self.ranks if ranks is None else ranks

        def rank(number: int) -> Any:
            def perform(operation: Operation, effect: Callable[[], Any]) -> Any:
                self.calls.append((number, operation))
                error = self.errors.get(number)
                if error is None or not (operation.writes or self.reads) or self.matching not in operation.key:
                    return effect()
                if self.lost and operation.writes:
                    unseen(effect)
                raise error

            checkpoints = ExecutionCheckpoints(
                MemoryStore(self.objects, perform=perform),
                CheckpointSettings(
                    execution=Execution(self.attempts),
                    rank=number,
                    world_size=count,
                    peer_timeout_s=60,
                    patience_s=self.patience_s,
                ),
                exchange,
                open_store=lambda uri: MemoryStore({}),
                on_back=self.on_back,
                asked=lambda: self.asked,
                sleep=lambda seconds: self.slept.append(seconds),
                monotonic=lambda: sum(self.slept),
            )
            try:
                return live(checkpoints, number)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                return error

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(rank, range(count)))

    def restored(self) -> Restored | None:
        """What the next attempt, of one rank, begins with."""
        self.errors = {}
        (found,) = self.run(lambda checkpoints, _: checkpoints.open(), ranks=1)
        assert not isinstance(found, Exception), found
        restored: Restored | None = found
        return restored


def save(checkpoints: ExecutionCheckpoints, step: int, value: float | None = None, patience_s: float = 0) -> Any:
    weight = torch.full((4,), float(step) if value is None else value)
    return checkpoints.save(parts_of({"weight": weight}, {}), step=step, position={"step": step}, patience_s=patience_s)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_gap_of_one_rank_is_a_gap_of_all_and_training_goes_on(broken: int) -> None:
    world = World(ranks=3)
    met = threading.Barrier(3)

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> list[Any]:
        checkpoints.open()
        done = []
        for step in (1, 2, 3, 4):
            met.wait()
            world.errors = {broken: AWAY} if step in (2, 3) else {}
            met.wait()
            done.append(save(checkpoints, step))
        return done

    outcomes = world.run(live)
    assert outcomes[0] == outcomes[1] == outcomes[2]
    first, second, third, fourth = outcomes[0]
    assert (first, fourth) == (None, None)
    assert [(skipped.step, skipped.in_a_row) for skipped in (second, third)] == [(2, 1), (3, 2)]
    assert "SlowDown (503)" in second.why
    assert f"(rank {broken})" in second.why
    assert {key.split("/")[1] for key in world.objects if key.startswith("steps/")} == {"000000000001", "000000000004"}
    assert {key.split("/")[2] for key in world.objects if key.startswith("shards/")} == {"000000000001", "000000000004"}


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("again", [2, 3])
def test_a_manifest_in_doubt_is_settled_before_anything_else_is_written(lost: bool, again: int) -> None:
    """Written or not, it becomes the commit it would have been, and its shards are never written anew."""
    world = World(ranks=2)
    met = threading.Barrier(2)

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> list[Any]:
        checkpoints.open()
        done = [save(checkpoints, 1)]
        met.wait()
        # Neither the write nor the look afterwards gets an answer.
        world.errors, world.matching, world.reads, world.lost = {0: AWAY}, "steps/", True, lost
        met.wait()
        done.append(save(checkpoints, 2))
        met.wait()
        world.errors = {}
        met.wait()
        # A state that differs: were it uploaded to the keys of step 2, the commit would be damaged.
        done.append(save(checkpoints, again, value=77.0))
        return done

    for done in world.run(live):
        assert isinstance(done[1], Skipped)
        assert [done[0], done[2]] == [None, None]
    assert {int(key.split("/")[1]) for key in world.objects if key.startswith("steps/")} == {1, 2, again}
    restored = World(ranks=1, objects=world.objects, attempts=1).restored()
    assert restored is not None
    assert restored.step == again
    assert restored.parts[REPLICATED].tree["weight"].tolist() == [2.0 if again == 2 else 77.0] * 4


def test_refusals_are_tolerated_for_so_many_saves_in_a_row() -> None:
    world = World(ranks=2)
    met = threading.Barrier(2)

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        for step in range(1, 100):
            met.wait()
            world.errors = {} if step % (TOLERATED_REFUSALS + 1) == 0 and step < 20 else {1: DENIED}
            met.wait()
            skipped = save(checkpoints, step)
            assert (skipped is None) == (not world.errors)
            last[rank] = step

    last = [0, 0]
    for error in world.run(live):
        assert isinstance(error, StorageRefused)
        assert "grant the credentials in the Secret 's'" in str(error)
        assert f"{TOLERATED_REFUSALS + 1} checkpoints in a row were refused" in str(error)
    assert last == [16 + TOLERATED_REFUSALS] * 2


@pytest.mark.parametrize("error", [AWAY, DENIED])
def test_a_commit_that_must_not_be_skipped_outlasts_the_gap(error: Exception) -> None:
    world = World(errors={0: error}, matching="shards/")

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> Any:
        checkpoints.open()
        world.slept = Until(world, 60)  # type: ignore[assignment]  # a list with an event in it
        return save(checkpoints, 1, patience_s=120)

    assert world.run(live) == [None]
    assert 60 <= sum(world.slept) < 70
    restored = world.restored()
    assert restored is not None
    assert restored.step == 1


@pytest.mark.parametrize(
    ("patience_s", "allowed"),
    [
        pytest.param(0, [(1, 0, True), (2, 0, False)], id="beside training: twice"),
        pytest.param(120, [(5, 119, True), (5, 121, False)], id="at a stop: until its time is over"),
    ],
)
def test_a_store_learns_how_long_a_save_may_take(patience_s: float, allowed: list[tuple[int, float, bool]]) -> None:
    world, found = World(), []

    class Asks(dict[str, bytes]):
        def __setitem__(self, key: str, value: bytes) -> None:
            found.append([limits.current().allows(tries, pause) for tries, pause, _ in allowed])
            super().__setitem__(key, value)

    world.objects = Asks()

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        found.clear()
        save(checkpoints, 1, patience_s=patience_s)

    assert world.run(live) == [None]
    assert len(found) > 1
    assert {tuple(one) for one in found} == {tuple(yes for _, _, yes in allowed)}
    assert limits.current() == limits.Limit()


class Until(list[float]):
    """Pauses; once they add up, the store answers."""

    def __init__(self, world: World, seconds: float) -> None:
        super().__init__()
        self._world = world
        self._seconds = seconds

    def append(self, pause: float) -> None:
        super().append(pause)
        if sum(self) >= self._seconds:
            self._world.errors = {}


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (AWAY, StorageUnavailable, "no answer for 30 s. Correct the address"),
        (DENIED, StorageRefused, "refused for 30 s"),
    ],
)
def test_such_a_commit_is_given_up_within_its_time(error: Exception, kind: type[Exception], says: str) -> None:
    world = World(ranks=2, errors={1: error}, matching="shards/")

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> Any:
        checkpoints.open()
        return save(checkpoints, 1, patience_s=30)

    for found in world.run(live):
        assert type(found) is kind
        assert says in str(found)
        assert "\n" not in str(found)


@pytest.mark.parametrize("asked", [False, True])
def test_opening_waits_for_the_store_unless_asked_to_stop(asked: bool) -> None:
    world = World(ranks=2, errors={0: AWAY}, asked=asked, patience_s=180)
    for found in world.run(lambda checkpoints, _: checkpoints.open()):
        assert type(found) is (Stopped if asked else StorageUnavailable)
        assert "SlowDown (503)" in str(found)
        assert asked or "no answer for 180 s" in str(found)
    assert (sum(world.slept) == 0) if asked else (170 < sum(world.slept) <= 180)


def test_opening_outlasts_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    world = World(patience_s=180)
    assert world.restored() is None
    world.run(lambda checkpoints, _: (checkpoints.open(), save(checkpoints, 1)))
    world.errors = {0: AWAY}
    world.slept = Until(world, 100)  # type: ignore[assignment]  # a list with an event in it
    (found,) = world.run(lambda checkpoints, _: checkpoints.open())
    assert isinstance(found, Restored)
    assert [record.message for record in caplog.records if "trying again" in record.message] == [
        f"{AWAY}; trying again for up to 180 s"
    ]


def test_who_skipped_is_told_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE_S", 0.01)
    back, looked = threading.Event(), threading.Event()
    world = World(on_back=back.set)

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        world.errors = {0: AWAY}
        assert save(checkpoints, 1)
        writes = [operation for _, operation in world.calls if operation.key.startswith("shards/")]
        # Known to be away: nothing is staged or uploaded for it.
        assert save(checkpoints, 2).in_a_row == 2
        assert [operation for _, operation in world.calls if operation.key.startswith("shards/")] == writes
        assert not back.is_set()
        world.errors = {}
        looked.set()
        assert back.wait(60)
        assert save(checkpoints, 3) is None
        checkpoints.close()

    assert world.run(live) == [None]


def test_looking_whether_it_is_back_changes_nothing() -> None:
    world = World()

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        before = dict(world.objects)
        checkpoints._log.probe()
        assert world.objects == before
        for error in (AWAY, DENIED):
            world.errors = {0: error}
            with pytest.raises(type(error)):
                checkpoints._log.probe()
        world.errors = {0: PreconditionFailed("exists already")}
        checkpoints._log.probe()

    assert world.run(live) == [None]
