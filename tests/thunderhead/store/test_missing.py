"""Manifests that are gone: never taken for a job that has saved nothing yet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_job import Job, assert_restored, damage, just_open, save_steps

from thunderhead.job.errors import NothingRestorable, StorageRefused
from thunderhead.job.link import PassedOver, Restored

STEP_30 = "steps/000000000030/000001-0000.json"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(f"file://{tmp_path}/store")


def folder(job: Job) -> Path:
    return Path(job.root.removeprefix("file://"))


def remove(*patterns: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for pattern in patterns:
            for path in list(root.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize(
    ("lose", "attempts", "known", "says"),
    [
        pytest.param(remove("steps"), 1, False, "execution 000001-0000 has committed", id="all manifests"),
        pytest.param(remove("steps", "shards"), 2, False, "began from step 30", id="expired by a rule"),
        pytest.param(
            remove("steps", "epochs/*/committed"),
            2,
            False,
            "began from step 30 of execution 000001-0000",
            id="a base knows",
        ),
        pytest.param(remove("steps", "epochs"), 1, True, "the job's status names file:", id="only status knows"),
        pytest.param(remove("*"), 2, True, "the job's status names file:", id="nothing left at all"),
    ],
)
def test_a_job_whose_commits_are_gone_does_not_begin_from_zero(
    job: Job, world_size: int, lose: Callable[[Path], None], attempts: int, known: bool, says: str
) -> None:
    job.attempt(1, world_size, save_steps(10, 20, 30))
    if attempts == 2:
        job.attempt(2, world_size, just_open)
    lose(folder(job))
    told = {"known": f"{job.root}/{STEP_30}"} if known else {}
    for again in (3, 4):
        for error in job.attempt(again, world_size, just_open, **told):
            assert isinstance(error, NothingRestorable)
            assert says in str(error)
            assert "set checkpoint.resume to Never" in str(error)
    assert job.attempt(5, world_size, just_open, resume="Never", **told) == [None] * world_size


def test_nor_does_one_whose_address_was_changed(job: Job, tmp_path: Path) -> None:
    job.attempt(1, 1, save_steps(10))
    moved = Job(f"file://{tmp_path}/elsewhere")
    uri = f"{job.root}/steps/000000000010/000001-0000.json"
    (error,) = moved.attempt(2, 1, just_open, known=uri)
    assert isinstance(error, NothingRestorable)
    assert uri in str(error)
    assert "correct checkpoint.uri" in str(error)
    assert "go on from there by checkpoint.resume" in str(error)
    for attempt, address in ((3, uri), (4, job.root)):
        (restored,) = moved.attempt(attempt, 1, just_open, known=uri, resume=address)
        assert_restored(restored, 10, 0)


def test_nor_does_it_begin_anew_from_what_it_once_began_from(job: Job, tmp_path: Path) -> None:
    other = Job(f"file://{tmp_path}/store", uid="uid-2")
    job.attempt(1, 1, save_steps(10))
    other.attempt(1, 1, save_steps(20, 30), resume=job.root)
    remove("steps", "epochs/*/committed")(folder(other))
    (error,) = other.attempt(2, 1, just_open, resume=job.root, known=f"{other.root}/{STEP_30}")
    assert isinstance(error, NothingRestorable)


def test_a_job_that_has_saved_nothing_yet_begins_from_zero(job: Job) -> None:
    for attempt in (1, 2, 3):
        assert job.attempt(attempt, 1, just_open) == [None]


def test_what_an_attempt_with_resume_never_gave_up_is_not_missing(job: Job) -> None:
    job.attempt(1, 1, save_steps(10, 20, 30))
    job.attempt(2, 1, just_open, resume="Never")
    assert job.attempt(3, 1, just_open, known=f"{job.root}/{STEP_30}") == [None]


def test_what_was_given_up_is_accounted_for(job: Job) -> None:
    job.attempt(1, 2, save_steps(10, 20, 30))
    damage(job.root, "shards/", "/000000000030/", "00001-local")
    remove("shards/*/000000000020/*-00000-local*")(folder(job))
    first, second = job.attempt(2, 2, just_open, known=f"{job.root}/steps/000000000040/000001-0000.json")
    assert_restored(first, 10, 0)
    assert_restored(second, 10, 1)
    assert [(given_up.step, given_up.uri) for given_up in first.passed_over] == [
        (step, f"{job.root}/steps/{step:012d}/000001-0000.json") for step in (40, 30, 20)
    ]
    for given_up, says in zip(first.passed_over, ("is gone", "rank 1", "rank 0"), strict=True):
        assert isinstance(given_up, PassedOver)
        assert says in given_up.why


def test_a_whole_newest_commit_gives_nothing_up(job: Job) -> None:
    job.attempt(1, 1, save_steps(10, 20, 30))
    (restored,) = job.attempt(2, 1, just_open, known=f"{job.root}/{STEP_30}")
    assert isinstance(restored, Restored)
    assert restored.passed_over == ()


def test_a_mark_that_cannot_be_written_costs_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from thunderhead.store.files import FileStore

    put = FileStore.put

    def refuse(self: Any, key: str, *args: Any, **options: Any) -> None:
        if key.endswith("/committed"):
            raise StorageRefused("denied")
        put(self, key, *args, **options)

    monkeypatch.setattr(FileStore, "put", refuse)
    assert job.attempt(1, 1, save_steps(10, 20)) == [None]
    monkeypatch.undo()
    (restored,) = job.attempt(2, 1, just_open)
    assert_restored(restored, 20, 0)
