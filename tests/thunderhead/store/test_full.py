"""A full volume: what killed writers left behind is removed before the claim, and what does not fit is only skipped."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from store_job import Job, just_open

from thunderhead.job.errors import StorageUnavailable
from thunderhead.job.link import Restored
from thunderhead.job.parts import parts_of
from thunderhead.store.executions import Execution, writer_of_key
from thunderhead.store.files import FileStore
from thunderhead.store.job_checkpoints import ExecutionCheckpoints

VOLUME_BYTES = 550_000
STATE_BYTES = 100_000


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """On a volume with room for two kept checkpoints, the base, and one in the making."""
    write = FileStore._write

    def on_volume(self: FileStore, target: Path, body: Any, *, exclusive: bool) -> None:
        used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        if used + len(body) > VOLUME_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, target, body, exclusive=exclusive)

    monkeypatch.setattr(FileStore, "_write", on_volume)
    return Job(f"file://{tmp_path}", keep=2, patience_s=0)


def fill(job: Job, name: str) -> Path:
    """What a writer leaves that was killed on a full disk."""
    root = Path(job.uri.removeprefix("file://"))
    left = Path(job.root.removeprefix("file://")) / name
    left.parent.mkdir(parents=True, exist_ok=True)
    used = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    left.write_bytes(bytes(VOLUME_BYTES - used))
    return left


def save(*steps: int) -> Callable[[ExecutionCheckpoints, int], Any]:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> tuple[Any, list[Any]]:
        restored = checkpoints.open()
        state = {"w": torch.zeros(STATE_BYTES // 4)}
        return restored, [checkpoints.save(parts_of(state, {}), step=step, position={}) for step in steps]

    return live


LEFTOVERS = [
    "shards/000001-0000/000000000010/.unfinished-deadbeefdeadbeef",
    "shards/000001-0000/000000000010/.unfinished-deadbeefdeadbeef-n-00000-replicated.safetensors",
    "epochs/000001-0000/.unfinished-deadbeefdeadbeef",
    "epochs/000001-0000/.unfinished-deadbeefdeadbeef-base",
    "steps/000000000010/.unfinished-deadbeefdeadbeef",
    "steps/000000000010/.unfinished-deadbeefdeadbeef-000001-0000.json",
]


@pytest.mark.parametrize("name", LEFTOVERS)
def test_a_volume_full_of_leftovers_recovers(job: Job, name: str) -> None:
    job.attempt(1, 1, save(1, 2))
    left = fill(job, name)
    ((restored, skipped),) = job.attempt(2, 1, save(3, 4, 5))
    assert isinstance(restored, Restored)
    assert restored.step == 2
    assert skipped == [None] * 3
    assert not left.exists()


@pytest.mark.parametrize(
    "name",
    [
        "shards/000002-0000/000000000010/.unfinished-deadbeefdeadbeef",
        "epochs/000003-0000/.unfinished-deadbeefdeadbeef-claim",
        "steps/000000000010/.unfinished-deadbeefdeadbeef-000002-0001.json",
    ],
)
def test_what_is_not_older_than_we_are_stays(job: Job, name: str) -> None:
    job.attempt(1, 1, save(1))
    left = fill(job, name)
    (error,) = job.attempt(2, 1, just_open)
    assert isinstance(error, StorageUnavailable)
    assert "No space left on device (errno 28); free some space there, enlarge the volume" in str(error)
    assert left.exists()


def test_checkpoints_that_do_not_fit_are_skipped_and_leave_nothing_behind(job: Job) -> None:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> list[Any]:
        checkpoints.open()
        state = {"w": torch.zeros(STATE_BYTES // 4)}
        # Two shards: the first fits, the second does not.
        big = {"big": torch.zeros(VOLUME_BYTES // 4)}
        done = [checkpoints.save(parts_of(state, {}), step=1, position={})]
        done += [checkpoints.save(parts_of(state, big), step=step, position={}) for step in (2, 3, 4)]
        return [*done, checkpoints.save(parts_of(state, {}), step=5, position={})]

    ((first, *skipped, last),) = job.attempt(1, 1, live)
    assert (first, last) == (None, None)
    assert [one.in_a_row for one in skipped] == [1, 2, 3]
    folders = Path(job.root.removeprefix("file://"), "shards/000001-0000")
    assert sorted(int(path.name) for path in folders.iterdir()) == [1, 5]


@pytest.mark.parametrize(
    ("key", "execution"),
    [
        *((name, Execution(1)) for name in LEFTOVERS if name != "steps/000000000010/.unfinished-deadbeefdeadbeef"),
        ("steps/000000000010/.unfinished-deadbeefdeadbeef", None),
        ("steps/000000000010/000001-0002.json", Execution(1, 2)),
        ("shards/000001-0000/000000000003/n-00000-local.safetensors", Execution(1)),
        ("elsewhere/000001-0000/x", None),
        ("", None),
    ],
)
def test_the_writer_of_a_key(key: str, execution: Execution | None) -> None:
    assert writer_of_key(key) == execution
