"""The whole: ranks that open, save, fail and resume together, over files and over S3."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from store_job import Job, assert_restored, just_open, parts, save_steps

from thunderhead.job.errors import (
    InvalidConfiguration,
    StorageRefused,
    Superseded,
    UnsupportedState,
)
from thunderhead.job.link import Restored
from thunderhead.job.parts import REPLICATED, parts_of
from thunderhead.store import CheckpointSettings, Execution, JobAddress, open_job_checkpoints, open_store
from thunderhead.store.exchange import LocalExchange, PeerFailed, StoreExchange
from thunderhead.store.job_checkpoints import ExecutionCheckpoints
from thunderhead.store.memory import MemoryStore
from thunderhead.store.verified import verify_uri


@pytest.fixture(params=["file", "s3"])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Job]:
    if request.param == "file":
        yield Job(f"file://{tmp_path}")
    else:
        yield Job("s3://checkpoints/jobs", request.getfixturevalue("s3_endpoint"))


@pytest.fixture
def local_job(tmp_path: Path) -> Job:
    return Job(f"file://{tmp_path}")


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
    assert [(commit.step, commit.execution) for commit in report.commits] == [
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
            execution=Execution(1), rank=number, world_size=4, min_share_bytes=5000, peer_timeout_s=60
        )
        checkpoints = ExecutionCheckpoints(store, settings, exchange, open_store=open_store)
        checkpoints.open()
        tree = {f"p{index}": torch.full((500,), float(index)) for index in range(8)}
        checkpoints.save(parts_of(tree, None), step=1, position={})
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
    settings = CheckpointSettings(execution=Execution(2))
    restored = ExecutionCheckpoints(store, settings, LocalExchange(), open_store=open_store).open()
    assert restored is not None
    tree = restored.parts[REPLICATED].tree
    assert all(torch.equal(tree[f"p{index}"], torch.full((500,), float(index))) for index in range(8))
    assert list(tree) == [f"p{index}" for index in range(8)]


def test_the_same_step_again_writes_nothing_and_is_told_again(local_job: Job) -> None:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        for _ in range(2):
            checkpoints.save(parts(10, rank), step=10, position={})

    local_job.attempt(1, 1, live)
    assert [step for _, step, _, _ in local_job.commits] == [10, 10]
    # Stopped right after resuming: what it resumed from is its checkpoint.
    local_job.attempt(2, 1, live)
    assert len(list(open_store(local_job.root).scan("steps/"))) == 1


def test_an_older_step_is_our_mistake(local_job: Job) -> None:
    (error,) = local_job.attempt(1, 1, save_steps(10, 9))
    assert isinstance(error, AssertionError)


def test_saving_before_opening_is_our_mistake(local_job: Job) -> None:
    (error,) = local_job.attempt(1, 1, lambda checkpoints, _: checkpoints.save(parts_of({}, {}), step=1, position={}))
    assert isinstance(error, AssertionError)


def test_staged_state_does_not_follow_what_training_does_next(local_job: Job) -> None:
    weight = torch.zeros(3)

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        for step in range(1, 4):
            weight.fill_(step)
            checkpoints.save(parts_of({"weight": weight}, {}), step=step, position={})
        weight.fill_(99)

    local_job.attempt(1, 1, live)
    (restored,) = local_job.attempt(2, 1, just_open)
    assert restored.parts[REPLICATED].tree["weight"].tolist() == [3, 3, 3]


def test_all_ranks_learn_together_that_they_are_superseded(local_job: Job) -> None:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        save_steps(10)(checkpoints, rank)
        if rank == 0:
            local_job.attempt(2, 1, just_open)
        checkpoints.save(parts(20, rank), step=20, position={})

    errors = local_job.attempt(1, 3, live)
    assert [type(error) for error in errors] == [Superseded] * 3
    assert [step for rank, step, _, _ in local_job.commits if rank == 1] == [10]


def test_all_ranks_learn_together_that_storage_is_refused(s3_endpoint: str) -> None:
    for error in Job("s3://no-such-bucket", s3_endpoint).attempt(1, 3, just_open):
        assert isinstance(error, StorageRefused)
        assert "create the bucket" in str(error)


def test_one_rank_that_fails_ends_the_save_of_all(local_job: Job) -> None:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        local = {"hook": print} if rank == 2 else {}
        checkpoints.save(parts_of({}, local), step=1, position={})

    errors = local_job.attempt(1, 3, live)
    assert [type(error) for error in errors] == [UnsupportedState] * 3
    assert "local['hook']" in str(errors[0])
    assert not list(open_store(local_job.root).scan("steps/"))


def test_a_rank_that_holds_another_tree_is_named(local_job: Job) -> None:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        checkpoints.save(parts_of({"a": torch.zeros(1 + rank // 2)}, {}), step=1, position={})

    for error in local_job.attempt(1, 3, live):
        assert isinstance(error, UnsupportedState)
        assert "the replicated state of rank 2 (1 tensors) differs" in str(error)


def test_a_rank_that_dies_without_a_word_is_a_failed_peer(local_job: Job) -> None:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        if rank == 0:
            checkpoints.save(parts_of({}, {}), step=1, position={})

    error, survivor = local_job.attempt(1, 2, live, peer_timeout_s=5)
    assert isinstance(error, PeerFailed)
    assert "rank 1 did not answer within 5 s" in str(error)
    assert survivor is None


def test_check_refuses_what_could_not_be_restored(local_job: Job) -> None:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.check(parts_of({"module": torch.zeros(1)}, {}))
        with pytest.raises(UnsupportedState, match=r"replicated\['callbacks'\]"):
            checkpoints.check(parts_of({"callbacks": object()}, {}))
        with pytest.raises(UnsupportedState, match=r"local\['loader'\]"):
            checkpoints.check(parts_of({}, {"loader": object()}))

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

    def live(checkpoints: ExecutionCheckpoints, rank: int) -> Restored | None:
        client = dist.PrefixStore("checkpoints/1-0", dist.TCPStore("127.0.0.1", server.port, is_master=False))
        mine = open_job_checkpoints(
            local_job.address,
            CheckpointSettings(execution=Execution(1), rank=rank, world_size=2),
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
        ({"rank": 2, "world_size": 2}, "rank=2 is outside the world of 2 ranks"),
        ({"world_size": 2}, "needs an exchange"),
    ],
)
def test_settings_that_cannot_work_are_told(settings: dict[str, Any], says: str) -> None:
    address = JobAddress(uri="file:///tmp", namespace="n", name="j", uid="u")
    with pytest.raises(ValueError, match=says):
        open_job_checkpoints(address, CheckpointSettings(execution=Execution(1), **settings))


def test_an_address_of_nothing_is_refused() -> None:
    address = JobAddress(uri="here", namespace="n", name="j", uid="u")
    with pytest.raises(InvalidConfiguration, match="checkpoint URI 'here/n/j/u' is not one that we can open"):
        open_job_checkpoints(address, CheckpointSettings(execution=Execution(1)))


def test_importing_the_package_is_cheap() -> None:
    """Neither torch nor boto3 for those who only verify; never torch.distributed.checkpoint, which costs 3 s."""
    script = (
        "import sys, thunderhead.store, thunderhead.store.verify, thunderhead.store.verified\n"
        "assert not {'torch', 'boto3', 'numpy'} & set(sys.modules)\n"
        "import thunderhead.store.job_checkpoints\n"
        "assert not {'boto3', 'torch.distributed.checkpoint'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
