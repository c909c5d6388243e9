"""What stays, as a table; and that nobody deletes under a newer execution."""

from __future__ import annotations

from typing import Any

import pytest
from store_world import Oracle, Process

from thunderhead.job.errors import StorageRefused, Superseded
from thunderhead.store.executions import EXECUTIONS, Commit, Execution, claim_key, shard_of_key
from thunderhead.store.files import FileStore
from thunderhead.store.lineage import Lineage, Listing, Segment
from thunderhead.store.log import ExecutionLog
from thunderhead.store.memory import MemoryStore, Operation
from thunderhead.store.objects import Unavailable
from thunderhead.store.retention import abandon_uploads, kept_of


def commits(text: str) -> frozenset[Commit]:
    """``"1@10 2@20"``: attempt 1 step 10, attempt 2 step 20."""
    return frozenset(Commit(Execution(int(a)), int(s)) for a, s in (item.split("@") for item in text.split()))


def lineage(text: str) -> Lineage:
    pairs = [[*item.split("@"), ""][:2] for item in text.split()]
    return Lineage(tuple(Segment(Execution(int(attempt)), int(step) if step else None) for attempt, step in pairs))


@pytest.mark.parametrize(
    ("there", "line", "base", "keep", "kept"),
    [
        ("1@10 1@20 1@30", "1", "", 2, "1@20 1@30"),
        ("1@10 1@20 1@30", "1", "", 9, "1@10 1@20 1@30"),
        ("1@10 1@20 1@30", "1", "", 1, "1@30"),
        ("1@10 1@20 2@30", "2 1@20", "1@20", 1, "1@20 2@30"),
        ("1@10 1@20 2@30 2@40", "2 1@10", "1@10", 2, "1@10 2@30 2@40"),
        ("1@10 1@20 2@30", "2 1@10", "1@10", 3, "1@10 2@30"),
        ("1@10 1@20 2@30", "2", "", 3, "2@30"),
        ("1@10 2@20 3@30 4@40", "4 3@30 2@20 1@10", "3@30", 2, "3@30 4@40"),
        ("1@10 2@20 3@30", "2 1@10", "1@10", 1, "1@10 2@20 3@30"),
    ],
    ids=str,
)
def test_kept(there: str, line: str, base: str, keep: int, kept: str) -> None:
    mine = lineage(line)
    newest = mine.counting(commits(there))[0]
    found = kept_of(Listing(commits=commits(there)), mine, newest=newest, precious=commits(base), keep=keep)
    assert {commit for commit in commits(there) if not found.drops_manifest(commit)} == commits(kept)


def test_shards_in_the_making_stay() -> None:
    kept = kept_of(Listing(commits=commits("2@20")), lineage("2"), newest=Commit(Execution(2), 20), precious=(), keep=1)
    dropped = {
        shard: kept.drops_shard_of(next(iter(commits(shard)))) for shard in ("1@99", "2@10", "2@20", "2@30", "3@1")
    }
    assert dropped == {"1@99": True, "2@10": True, "2@20": False, "2@30": False, "3@1": False}


def shard_steps(store: MemoryStore) -> set[Commit | None]:
    return {shard_of_key(key) for key in store.objects if key.startswith("shards/")}


def test_a_running_job_keeps_so_many_and_leaves_nothing_else() -> None:
    process = Process({}, Oracle(), 1, keep=2)
    process.live(5)
    assert shard_steps(process.store) == commits("1@4 1@5")
    assert {Commit.of_key(key) for key in process.store.objects if key.startswith("steps/")} == commits("1@4 1@5")


def test_leftovers_of_dead_executions_go() -> None:
    process = Process({}, Oracle(), 1)
    process.live(1)
    objects = process.store.objects
    objects["shards/000001-0000/000000000002/nonce1-00000-local.safetensors"] = b"of a save that never ended"
    following = Process(objects, process.oracle, 2)
    following.live(1)
    assert shard_steps(following.store) == commits("1@1 2@2")
    assert {claim_key(Execution(1)), claim_key(Execution(2))} <= set(objects)


@pytest.mark.parametrize("error", [Unavailable("busy"), StorageRefused("deleting is forbidden")])
def test_what_cannot_be_deleted_is_told_and_does_not_end_the_training(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def forbid(operation: Operation, effect: Any) -> Any:
        if operation.kind == "delete":
            raise error
        return effect()

    process = Process({}, Oracle(), 1, forbid, keep=1)
    process.live(3)
    assert f"could not be deleted: {error}" in caplog.text
    assert process.oracle.acknowledged == [Commit(Execution(1), step) for step in (1, 2, 3)]


def test_a_frozen_process_deletes_nothing_under_a_newer_execution_that_fell_back() -> None:
    """Execution 1 freezes as it is about to delete step 1; step 2 turns out damaged: execution 2 builds on step 1."""
    oracle = Oracle()
    older: Process

    def freeze(operation: Operation, effect: Any) -> Any:
        scanned_for_deleting = (
            operation.key == EXECUTIONS and "steps/000000000002/000001-0000.json" in older.store.objects
        )
        if scanned_for_deleting and len(oracle.acknowledged) == 2 and oracle.opened[0] == Execution(1):
            for key in [key for key in older.store.objects if "/000000000002/" in key and "shards" in key]:
                older.store.objects[key] = b"damaged"
            assert newer.open() == Commit(Execution(1), 1)
        return effect()

    older = Process({}, oracle, 1, freeze, keep=1)
    newer = Process(older.store.objects, oracle, 2, keep=1)
    older.live(1)
    with pytest.raises(Superseded):
        older.save()
    newer.save()
    assert Process(older.store.objects, oracle, 3).open() == Commit(Execution(2), 2)


def test_unfinished_uploads_of_older_executions_are_abandoned(tmp_path: Any) -> None:
    store = FileStore(tmp_path)
    log = ExecutionLog(store, Execution(2), "n")
    log.claim(world_size=1, at=0)
    for folder in (
        "shards/000001-0000/000000000001",
        "shards/000002-0000/000000000001",
        "shards/000003-0000/000000000001",
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / ".unfinished-1").touch()
    assert abandon_uploads(log) == 1
    assert [upload.key.split("/")[1] for upload in store.uploads("")] == ["000002-0000", "000003-0000"]
    ExecutionLog(store, Execution(3), "n").claim(world_size=1, at=0)
    (tmp_path / "shards/000001-0000/000000000001").mkdir(parents=True)
    (tmp_path / "shards/000001-0000/000000000001/.unfinished-2").touch()
    with pytest.raises(Superseded):
        abandon_uploads(log)
