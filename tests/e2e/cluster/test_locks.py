"""Locks exclude, end with their holder, and leave no file."""

from __future__ import annotations

import multiprocessing
import re
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from e2e.cluster import locks
from e2e.cluster.config import ClusterError
from e2e.cluster.locks import claimed, locked

ROUNDS, PROCESSES = 40, 3


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "_path", lambda name: tmp_path / name)
    return tmp_path


def silent(_: str) -> None:
    """Nobody listens."""


def count_up(counter: Path) -> None:
    for _ in range(ROUNDS):
        with locked("counter", silent):
            counter.write_text(str(int(counter.read_text()) + 1))


def hold(held: Event, release: Event) -> None:
    with locked("held", silent):
        held.set()
        release.wait()


def test_one_at_a_time(tmp_path: Path) -> None:
    """A lock's file is removed with every release; taking one that is about to be removed must not let two in."""
    counter = tmp_path / "count"
    counter.write_text("0")
    forked = multiprocessing.get_context("fork")
    processes = [forked.Process(target=count_up, args=(counter,)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counter.read_text() == str(ROUNDS * PROCESSES)
    assert not (tmp_path / "counter").exists()


def test_a_claim_says_who_was_first(tmp_path: Path) -> None:
    with claimed("tests", "test"), pytest.raises(ClusterError, match=r"cannot test too: in use by process \d+ in"):  # noqa: SIM117  # the claim inside must be made inside
        with claimed("tests", "test too"):
            pass
    with claimed("tests", "test again"):
        pass


def test_a_lock_ends_with_its_holder() -> None:
    forked = multiprocessing.get_context("fork")
    held, release = forked.Event(), forked.Event()
    holder = forked.Process(target=hold, args=(held, release))
    holder.start()
    held.wait()
    with pytest.raises(ClusterError, match="in use by"), claimed("held", "take it"):
        pass
    holder.kill()
    holder.join()
    with claimed("held", "take it"):
        pass


def test_who_waits_says_for_whom_and_how_long() -> None:
    forked = multiprocessing.get_context("fork")
    held, release = forked.Event(), forked.Event()
    holder = forked.Process(target=hold, args=(held, release))
    holder.start()
    held.wait()
    said: list[str] = []

    def tell(line: str) -> None:
        said.append(line)
        release.set()

    with locked("held", tell):
        pass
    holder.join()
    waiting, waited = said
    assert waiting.startswith(f"cluster: waiting for process {holder.pid} in {Path.cwd()}, which holds the lock ")
    assert waiting.endswith("/held …")
    assert re.fullmatch(r"cluster: waited \d+\.\d s for the lock .*/held", waited)


def test_who_does_not_wait_says_nothing() -> None:
    said: list[str] = []
    with locked("free", said.append):
        pass
    assert said == []
