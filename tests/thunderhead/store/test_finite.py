"""The newest commit from before something was no number is kept, whatever follows it and in however many attempts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from store_job import Job, just_open

from thunderhead.job.parts import parts_of
from thunderhead.store.by_uri import open_store
from thunderhead.store.verified import verify_uri


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(f"file://{tmp_path}", keep=2)


def save(job: Job, attempt: int, *steps: int, until: int, who: int = 0, world_size: int = 1) -> list[Any]:
    """Save ``steps``; rank ``who`` finds those after ``until`` not finite."""

    def live(checkpoints: Any, rank: int) -> Any:
        restored = checkpoints.open()
        for step in steps:
            bad = None if step <= until or rank != who else until + 1
            checkpoints.save(parts_of({"w": torch.ones(2)}, {}), step=step, position={}, non_finite_step=bad)
        return restored.step if restored is not None else None

    return job.attempt(attempt, world_size, live)


def kept(job: Job) -> list[int]:
    return sorted({int(info.key.split("/")[1]) for info in open_store(job.root).scan("steps/")})


@pytest.mark.parametrize(("world_size", "who"), [(1, 0), (3, 2)])
def test_the_newest_from_before_is_kept(job: Job, world_size: int, who: int) -> None:
    assert save(job, 1, 1, 2, 3, 4, 5, 6, 7, until=3, who=who, world_size=world_size) == [None] * world_size
    assert kept(job) == [3, 6, 7]
    assert save(job, 2, 8, 9, 10, until=3, who=who, world_size=world_size) == [7] * world_size
    assert kept(job) == [3, 7, 9, 10], "the base, too"
    assert save(job, 3, 11, 12, 13, until=3, who=who, world_size=world_size) == [10] * world_size
    assert kept(job) == [3, 10, 12, 13]
    (report,) = verify_uri(job.uri)
    assert report.verified


def test_where_all_is_well_nothing_more_is_kept(job: Job) -> None:
    save(job, 1, 1, 2, 3, 4, 5, until=99)
    assert kept(job) == [4, 5]


def test_what_was_never_well_keeps_nothing_more(job: Job) -> None:
    save(job, 1, 1, 2, 3, 4, until=0)
    save(job, 2, 5, 6, 7, until=0)
    assert kept(job) == [4, 6, 7]
    assert [restored.step for restored in job.attempt(3, 1, just_open)] == [7]


def test_once_it_is_well_again_the_newest_is_the_one(job: Job) -> None:
    """As after a resume by hand from the checkpoint that was kept."""
    save(job, 1, 1, 2, 3, 4, until=1)
    save(job, 2, 5, 6, 7, until=99)
    assert kept(job) == [4, 6, 7]


def test_every_rank_hears_of_the_earliest_at_each_save(job: Job) -> None:
    found = [[None, None, None, 9], [None, 7, 7, 7], [None, None, 8, 8]]

    def live(checkpoints: Any, rank: int) -> Any:
        checkpoints.open()
        heard = [checkpoints.non_finite_step]
        for step, bad in enumerate(found[rank], start=6):
            checkpoints.save(parts_of({"w": torch.ones(2)}, {}), step=step, position={}, non_finite_step=bad)
            heard.append(checkpoints.non_finite_step)
        return heard

    assert job.attempt(1, 3, live) == [[None, None, 7, 7, 7]] * 3
