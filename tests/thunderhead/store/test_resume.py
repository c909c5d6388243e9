"""What an attempt starts from: its own checkpoints, another job's, none; and what happens where they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_job import Job, assert_restored, damage, just_open, save_steps

from thunderhead.job.errors import InvalidConfiguration, NothingRestorable
from thunderhead.job.parts import LOCAL, REPLICATED
from thunderhead.store import open_store


@pytest.fixture
def local_job(tmp_path: Path) -> Job:
    return Job(f"file://{tmp_path}")


def test_another_world_size_restores_what_is_common(local_job: Job) -> None:
    local_job.attempt(1, 2, save_steps(10))
    for restored in local_job.attempt(2, 3, save_steps(11)):
        assert restored.step == 10
        assert LOCAL not in restored.parts
        assert restored.parts[REPLICATED].tree["position"] == (10, 0)
    for rank, restored in enumerate(local_job.attempt(3, 3, just_open)):
        assert_restored(restored, 11, rank)


def test_never_starts_over_on_purpose_and_leaves_nothing_of_before(local_job: Job) -> None:
    local_job.attempt(1, 2, save_steps(10, 20))
    assert local_job.attempt(2, 2, save_steps(5), resume="Never") == [None, None]
    for rank, restored in enumerate(local_job.attempt(3, 2, just_open)):
        assert_restored(restored, 5, rank)
    assert [info.key for info in open_store(local_job.root).scan("steps/")] == ["steps/000000000005/000002-0000.json"]


@pytest.mark.parametrize("what", ["manifest", "job"])
def test_another_jobs_checkpoint_is_where_a_job_starts(local_job: Job, what: str) -> None:
    local_job.settings["keep"] = 9
    local_job.attempt(1, 2, save_steps(10, 20))
    uri = {"manifest": f"{local_job.root}/steps/000000000010/000001-0000.json", "job": f"{local_job.root}/"}[what]
    heir = Job(local_job.uri, uid="uid-2", resume=uri)
    for attempt in (1, 2):
        # Nothing of its own yet, so the second attempt starts there again, whatever the other job has done meanwhile.
        for rank, restored in enumerate(heir.attempt(attempt, 2, just_open)):
            assert_restored(restored, 10 if what == "manifest" else 20, rank)
        local_job.attempt(1 + attempt, 2, save_steps(30 + attempt))
    assert heir.commits == []
    heir.attempt(3, 2, save_steps(15))
    for attempt, resume in ((4, uri), (5, "Auto")):
        for rank, restored in enumerate(heir.attempt(attempt, 2, just_open, resume=resume)):
            assert_restored(restored, 15, rank)


def test_another_jobs_checkpoint_may_lie_in_s3(s3_endpoint: str) -> None:
    job = Job("s3://checkpoints/jobs", s3_endpoint)
    job.attempt(1, 1, save_steps(10))
    (restored,) = Job(job.uri, s3_endpoint, uid="uid-2", resume=job.root).attempt(1, 1, just_open)
    assert_restored(restored, 10, 0)


@pytest.mark.parametrize(
    ("resume", "error", "says"),
    [
        ("{uri}", InvalidConfiguration, "holds the checkpoints of 2 jobs; name one of them: .*/namespace/job/uid-"),
        ("{uri}/empty", NothingRestorable, "holds no committed checkpoint"),
        ("{root}/steps/000000000099/000001-0000.json", NothingRestorable, "none of the 1 committed checkpoints"),
        ("ftp://there", InvalidConfiguration, "ftp://there"),
    ],
)
def test_a_resume_that_leads_nowhere_is_told(local_job: Job, resume: str, error: type[Exception], says: str) -> None:
    local_job.attempt(1, 1, save_steps(10))
    Job(local_job.uri, uid="uid-2").attempt(1, 1, save_steps(10))
    heir = Job(local_job.uri, uid="uid-3", resume=resume.format(uri=local_job.uri, root=local_job.root))
    for found in heir.attempt(1, 2, just_open):
        assert type(found) is error
        with pytest.raises(error, match=says):
            raise found


@pytest.mark.parametrize("part", ["steps/", "00001-local", "00000-local", "00000-replicated"])
def test_a_damaged_checkpoint_is_skipped_by_all_ranks_and_said(
    local_job: Job, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    local_job.attempt(1, 2, save_steps(20, 30))
    damage(local_job.root, "000000000030", part)
    for rank, restored in enumerate(local_job.attempt(2, 2, save_steps(30))):
        assert_restored(restored, 20, rank)
    assert "steps/000000000030/000001-0000.json is damaged; trying the one before it" in caplog.text
    for rank, restored in enumerate(local_job.attempt(3, 2, just_open)):
        assert_restored(restored, 30, rank)
        assert restored.uri.endswith("steps/000000000030/000002-0000.json")


def test_when_none_verifies_no_rank_starts_over(local_job: Job) -> None:
    local_job.attempt(1, 2, save_steps(10, 20))
    damage(local_job.root, "-local")
    for attempt in (2, 3):
        for error in local_job.attempt(attempt, 2, just_open):
            assert isinstance(error, NothingRestorable)
            assert "none of the 2 committed checkpoints" in str(error)
