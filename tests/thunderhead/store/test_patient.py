"""Waiting for a store that does not answer: as long as stated, for all gaps together, and not for one that says no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from thunderhead.job.errors import StorageRefused
from thunderhead.store.memory import MemoryStore, Operation
from thunderhead.store.objects import NotFound, Unavailable
from thunderhead.store.patient import PatientStore


class Waiting:
    """A patient store on a clock that only its pauses move; away in the given spans of seconds."""

    def __init__(self, *away: tuple[float, float], patience_s: float = 180) -> None:
        self.now = 0.0
        self.away = away
        self.hurried = False
        self.tries = 0
        inner = MemoryStore({"k": b"x"}, perform=self._perform)
        self.store = PatientStore(inner, hurried=lambda: self.hurried, sleep=self._sleep, monotonic=lambda: self.now)
        self.store.patience_s = patience_s

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _perform(self, operation: Operation, effect: Callable[[], Any]) -> Any:
        self.tries += 1
        if any(start <= self.now < end for start, end in self.away):
            raise Unavailable(f"{operation.kind}: SlowDown (503)")
        return effect()


OPERATIONS: list[Callable[[PatientStore], Any]] = [
    lambda store: store.get("k"),
    lambda store: store.put("l", b"y"),
    lambda store: store.size("k"),
    lambda store: list(store.scan()),
    lambda store: store.delete("k"),
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_outlasts_a_gap(operation: Callable[[PatientStore], Any]) -> None:
    waiting = Waiting((0, 75))
    operation(waiting.store)
    assert 75 <= waiting.now <= 80


@pytest.mark.parametrize("patience_s", [0, 1, 20, 180])
def test_patience_ends_as_stated(patience_s: float) -> None:
    waiting = Waiting((0, 1e9), patience_s=patience_s)
    with pytest.raises(Unavailable, match="SlowDown"):
        waiting.store.get("k")
    assert max(0, patience_s - 5.0) <= waiting.now <= patience_s


def test_gaps_add_up(caplog: pytest.LogCaptureFixture) -> None:
    """A store that is there for a moment now and then is not waited for without end."""
    waiting = Waiting((0, 100), (110, 1e9))
    assert waiting.store.get("k") == b"x"
    first, waiting.now = waiting.now, 110.0
    with pytest.raises(Unavailable):
        waiting.store.get("k")
    assert 175 <= first + waiting.now - 110 <= 180
    assert [record.message.partition("; ")[2] for record in caplog.records] == [
        "trying again for up to 180 s",
        f"trying again for up to {180 - first:g} s",
    ]


def test_what_is_not_there_is_an_answer() -> None:
    waiting = Waiting()
    with pytest.raises(NotFound):
        waiting.store.get("nothing")
    assert (waiting.tries, waiting.now) == (1, 0)


def test_a_refusal_is_not_waited_for() -> None:
    def deny(operation: Operation, effect: Callable[[], Any]) -> Any:
        raise StorageRefused("AccessDenied (403)")

    store = PatientStore(MemoryStore(perform=deny), sleep=lambda _: pytest.fail("it waited"))
    store.patience_s = 180
    with pytest.raises(StorageRefused):
        store.get("k")


def test_who_is_asked_to_stop_waits_no_longer() -> None:
    waiting = Waiting((0, 1e9))
    waiting.hurried = True
    with pytest.raises(Unavailable):
        waiting.store.get("k")
    assert waiting.now == 0
