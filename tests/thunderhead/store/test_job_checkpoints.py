"""The whole: ranks that open, save, fail and resume together, over files and over S3."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from thunderhead.job.errors import (
    InvalidConfiguration,
    NothingRestorable,
    StorageRefused,
    Superseded,
    UnsupportedState,
)
from thunderhead.job.link import JobCheckpoints, Restored
from thunderhead.store import Epoch, open_job_checkpoints, open_store
from thunderhead.store.exchange import LocalExchange, PeerFailed, StoreExchange
from thunderhead.store.job_checkpoints import CheckpointSettings, EpochCheckpoints
from thunderhead.store.memory import MemoryStore
from thunderhead.store.verify import verify_uri


class Job:
    """A job of one or more ranks, each a thread, over a real store."""

    def __init__(self, uri: str, endpoint: str | None = None, uid: str = "uid-1", **settings: Any) -> None:
        self.uri = uri
        self.endpoint = endpoint
        self.uid = uid
        self.settings = settings
        self.commits: list[tuple[int, int, str, float]] = []

    @property
    def root(self) -> str:
        return f"{self.uri}/namespace/job/{self.uid}"

    def attempt(
        self, attempt: int, world_size: int, live: Callable[[EpochCheckpoints, int], Any], **settings: Any
    ) -> list[Any]:
        """Run ``live`` on every rank; its results by rank, or the exception each ended with."""
        exchange = LocalExchange()

        def rank(number: int) -> Any:
            checkpoints = open_job_checkpoints(
                self.uri,
                namespace="namespace",
                job="job",
                uid=self.uid,
                attempt=attempt,
                rank=number,
                world_size=world_size,
                exchange=exchange,
                endpoint=self.endpoint,
                on_commit=lambda *commit: self.commits.append((number, *commit)),
                clock=lambda: 1000.0 + attempt,
                **{"peer_timeout_s": 60, **self.settings, **settings},
            )
            try:
                return live(checkpoints, number)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                return error

        with ThreadPoolExecutor(world_size) as pool:
            return list(pool.map(rank, range(world_size)))


@pytest.fixture(params=["file", "s3"])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Job]:
    if request.param == "file":
        yield Job(f"file://{tmp_path}")
    else:
        yield Job("s3://checkpoints/jobs", request.getfixturevalue("s3_endpoint"))


@pytest.fixture
def local_job(tmp_path: Path) -> Job:
    return Job(f"file://{tmp_path}")


def trees(step: int, rank: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a trainer saves: alike on all ranks, and a rank's own."""
    random_numbers = torch.Generator().manual_seed(step)
    weight = torch.randn(40, 50, generator=random_numbers)
    replicated = {
        "module": {
            "weight": weight,
            "tied": weight,
            "bias": torch.randn(50, generator=random_numbers).to(torch.bfloat16),
            "none": torch.empty(0),
        },
        "optimizer": {
            "state": {0: {"step": torch.tensor(float(step)), "moment": torch.randn(40, 50, generator=random_numbers)}},
            "groups": [{"lr": 0.1}],
        },
        "best": float("nan"),
        "position": (step, rank - rank),
    }
    own = random.Random(rank)
    local = {
        "rank": rank,
        "python": own.getstate(),
        "numpy": np.random.RandomState(rank).get_state(),
        "torch": torch.arange(rank + 1),
    }
    return replicated, local


def save_steps(*steps: int) -> Callable[[EpochCheckpoints, int], Restored | None]:
    def live(checkpoints: EpochCheckpoints, rank: int) -> Restored | None:
        restored = checkpoints.open()
        for step in steps:
            replicated, local = trees(step, rank)
            checkpoints.check(replicated, local)
            checkpoints.save(replicated, local, step=step, position={"step": step})
        checkpoints.close()
        return restored

    return live


def just_open(checkpoints: JobCheckpoints, rank: int) -> Restored | None:
    return checkpoints.open()


def assert_restored(restored: Any, step: int, rank: int) -> None:
    assert isinstance(restored, Restored), restored
    replicated, local = trees(step, rank)
    assert restored.step == step
    assert repr(restored.local) == repr(local)
    assert restored.replicated["module"]["weight"] is restored.replicated["module"]["tied"]
    torch.testing.assert_close(restored.replicated["module"], replicated["module"], rtol=0, atol=0)
    torch.testing.assert_close(
        restored.replicated["optimizer"]["state"], replicated["optimizer"]["state"], rtol=0, atol=0
    )
    assert restored.replicated["position"] == (step, 0)


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_job_saves_and_the_next_attempt_resumes(job: Job, world_size: int) -> None:
    assert job.attempt(1, world_size, save_steps(10, 20, 30, 40)) == [None] * world_size
    uri = f"{job.root}/steps/000000000040/000001-0000.json"
    assert [(step, at) for rank, step, _, at in job.commits if rank == 0] == [
        (step, 1001.0) for step in (10, 20, 30, 40)
    ]
    for rank, restored in enumerate(job.attempt(2, world_size, save_steps(50))):
        assert_restored(restored, 40, rank)
        assert restored.uri == uri
    for rank in range(world_size):
        assert [(step, at) for who, step, _, at in job.commits if who == rank][-2:] == [(40, 1001.0), (50, 1002.0)]
    (report,) = verify_uri(job.uri, endpoint=job.endpoint)
    assert [(commit.step, commit.epoch) for commit in report.commits] == [
        (50, "000002-0000"),
        (40, "000001-0000"),
        (30, "000001-0000"),
    ]
    assert report.verified
    assert {commit.world_size for commit in report.commits} == {world_size}


def test_ranks_share_the_upload_of_a_large_tree() -> None:
    store, exchange = MemoryStore(), LocalExchange()

    def rank(number: int) -> Any:
        settings = CheckpointSettings(
            epoch=Epoch(1), rank=number, world_size=4, min_share_bytes=5000, peer_timeout_s=60
        )
        checkpoints = EpochCheckpoints(store, settings, exchange, open_store=open_store)
        checkpoints.open()
        tree = {f"p{index}": torch.full((500,), float(index)) for index in range(8)}
        checkpoints.save(tree, None, step=1, position={})
        return checkpoints

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rank, range(4)))
    sizes = {
        key.rpartition("/")[2].split("-", 1)[1]: len(body)
        for key, body in store.objects.items()
        if "-replicated" in key
    }
    assert sorted(sizes) == [f"0000{number}-replicated.safetensors" for number in range(3)]
    assert max(sizes.values()) < 0.45 * sum(sizes.values())
    settings = CheckpointSettings(epoch=Epoch(2))
    restored = EpochCheckpoints(store, settings, LocalExchange(), open_store=open_store).open()
    assert restored is not None
    assert all(torch.equal(restored.replicated[f"p{index}"], torch.full((500,), float(index))) for index in range(8))
    assert list(restored.replicated) == [f"p{index}" for index in range(8)]


def test_another_world_size_restores_what_is_common(local_job: Job) -> None:
    local_job.attempt(1, 2, save_steps(10))
    for restored in local_job.attempt(2, 3, save_steps(11)):
        assert restored.step == 10
        assert restored.local is None
        assert restored.replicated["position"] == (10, 0)
    for rank, restored in enumerate(local_job.attempt(3, 3, just_open)):
        assert_restored(restored, 11, rank)


def test_the_same_step_again_writes_nothing_and_is_told_again(local_job: Job) -> None:
    def live(checkpoints: EpochCheckpoints, rank: int) -> None:
        checkpoints.open()
        for _ in range(2):
            checkpoints.save(*trees(10, rank), step=10, position={})

    local_job.attempt(1, 1, live)
    assert [step for _, step, _, _ in local_job.commits] == [10, 10]
    # Stopped right after resuming: what it resumed from is its checkpoint.
    local_job.attempt(2, 1, live)
    assert len(list(open_store(local_job.root).scan("steps/"))) == 1


def test_an_older_step_is_our_mistake(local_job: Job) -> None:
    (error,) = local_job.attempt(1, 1, save_steps(10, 9))
    assert isinstance(error, AssertionError)


def test_saving_before_opening_is_our_mistake(local_job: Job) -> None:
    (error,) = local_job.attempt(1, 1, lambda checkpoints, _: checkpoints.save({}, {}, step=1, position={}))
    assert isinstance(error, AssertionError)


def test_staged_state_does_not_follow_what_training_does_next(local_job: Job) -> None:
    weight = torch.zeros(3)

    def live(checkpoints: EpochCheckpoints, rank: int) -> None:
        checkpoints.open()
        for step in range(1, 4):
            weight.fill_(step)
            checkpoints.save({"weight": weight}, {}, step=step, position={})
        weight.fill_(99)

    local_job.attempt(1, 1, live)
    (restored,) = local_job.attempt(2, 1, just_open)
    assert restored.replicated["weight"].tolist() == [3, 3, 3]


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


def damage(root: str, *parts: str) -> None:
    """Flip one bit in every object of ``root`` whose key contains all ``parts``."""
    store = open_store(root)
    keys = [info.key for info in store.scan() if all(part in info.key for part in parts)]
    assert keys
    for key in keys:
        body = bytearray(store.get(key))
        body[len(body) // 2] ^= 4
        store.put(key, body)


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


def test_all_ranks_learn_together_that_they_are_superseded(local_job: Job) -> None:
    def live(checkpoints: EpochCheckpoints, rank: int) -> None:
        save_steps(10)(checkpoints, rank)
        if rank == 0:
            local_job.attempt(2, 1, just_open)
        checkpoints.save(*trees(20, rank), step=20, position={})

    errors = local_job.attempt(1, 3, live)
    assert [type(error) for error in errors] == [Superseded] * 3
    assert [step for rank, step, _, _ in local_job.commits if rank == 1] == [10]


def test_all_ranks_learn_together_that_storage_is_refused(s3_endpoint: str) -> None:
    for error in Job("s3://no-such-bucket", s3_endpoint).attempt(1, 3, just_open):
        assert isinstance(error, StorageRefused)
        assert "create the bucket" in str(error)


def test_one_rank_that_fails_ends_the_save_of_all(local_job: Job) -> None:
    def live(checkpoints: EpochCheckpoints, rank: int) -> None:
        checkpoints.open()
        local = {"hook": print} if rank == 2 else {}
        checkpoints.save({}, local, step=1, position={})

    errors = local_job.attempt(1, 3, live)
    assert [type(error) for error in errors] == [UnsupportedState] * 3
    assert "local['hook']" in str(errors[0])
    assert not list(open_store(local_job.root).scan("steps/"))


def test_a_rank_that_holds_another_tree_is_named(local_job: Job) -> None:
    def live(checkpoints: EpochCheckpoints, rank: int) -> None:
        checkpoints.open()
        checkpoints.save({"a": torch.zeros(1 + rank // 2)}, {}, step=1, position={})

    for error in local_job.attempt(1, 3, live):
        assert isinstance(error, UnsupportedState)
        assert "the replicated state of rank 2 (1 tensors) differs" in str(error)


def test_a_rank_that_dies_without_a_word_is_a_failed_peer(local_job: Job) -> None:
    def live(checkpoints: EpochCheckpoints, rank: int) -> None:
        checkpoints.open()
        if rank == 0:
            checkpoints.save({}, {}, step=1, position={})

    error, survivor = local_job.attempt(1, 2, live, peer_timeout_s=5)
    assert isinstance(error, PeerFailed)
    assert "rank 1 did not answer within 5 s" in str(error)
    assert survivor is None


def test_check_refuses_what_could_not_be_restored(local_job: Job) -> None:
    def live(checkpoints: EpochCheckpoints, rank: int) -> None:
        checkpoints.check({"module": torch.zeros(1)}, {})
        with pytest.raises(UnsupportedState, match=r"replicated\['callbacks'\]"):
            checkpoints.check({"callbacks": object()}, {})
        with pytest.raises(UnsupportedState, match=r"local\['loader'\]"):
            checkpoints.check({}, {"loader": object()})

    assert local_job.attempt(1, 1, live) == [None]


def test_no_pickle_on_the_way_back(local_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    local_job.attempt(1, 1, save_steps(10))

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("pickle on the restore path")

    for owner, name in ((pickle, "loads"), (pickle, "load"), (pickle, "Unpickler"), (torch, "load"), (np, "load")):
        monkeypatch.setattr(owner, name, forbidden)
    (restored,) = local_job.attempt(2, 1, just_open)
    assert_restored(restored, 10, 0)


def test_another_environment_is_said(local_job: Job, caplog: pytest.LogCaptureFixture) -> None:
    local_job.attempt(1, 1, save_steps(10))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        local_job.attempt(2, 1, just_open)
    finally:
        torch.set_num_threads(threads)
    assert f"resuming may not be bit-identical: threads: {threads} → {threads + 1}" in caplog.text


def test_ranks_talk_over_a_torch_store(local_job: Job) -> None:
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def live(checkpoints: EpochCheckpoints, rank: int) -> Restored | None:
        client = dist.PrefixStore("checkpoints/1-0", dist.TCPStore("127.0.0.1", server.port, is_master=False))
        mine = open_job_checkpoints(
            local_job.uri,
            namespace="namespace",
            job="job",
            uid=local_job.uid,
            attempt=1,
            rank=rank,
            world_size=2,
            exchange=StoreExchange(client),
        )
        return save_steps(10)(mine, rank)

    assert local_job.attempt(1, 2, live) == [None, None]
    for rank, restored in enumerate(local_job.attempt(2, 2, just_open)):
        assert_restored(restored, 10, rank)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"keep": 0}, "keep=0: at least 1"),
        ({"rank": 2, "world_size": 2, "exchange": LocalExchange()}, "rank=2 is outside the world of 2 ranks"),
        ({"world_size": 2}, "needs an exchange"),
    ],
)
def test_settings_that_cannot_work_are_told(settings: dict[str, Any], says: str) -> None:
    arguments: dict[str, Any] = {"namespace": "n", "job": "j", "uid": "u", "attempt": 1, "rank": 0, "world_size": 1}
    with pytest.raises(ValueError, match=says):
        open_job_checkpoints("file:///tmp", **{**arguments, **settings})


def test_importing_the_package_is_cheap() -> None:
    """Neither torch nor boto3 for those who only verify; never torch.distributed.checkpoint, which costs 3 s."""
    script = (
        "import sys, thunderhead.store, thunderhead.store.verify\n"
        "assert not {'torch', 'boto3', 'numpy'} & set(sys.modules)\n"
        "import thunderhead.store.job_checkpoints\n"
        "assert not {'boto3', 'torch.distributed.checkpoint'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
