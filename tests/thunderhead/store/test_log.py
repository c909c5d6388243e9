"""Creating an object once whatever happens to the reply, claims, and reading a lineage through damage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from store_samples import manifest

from thunderhead.job.errors import StorageRefused, Superseded
from thunderhead.store.executions import Commit, Execution, base_key, claim_key
from thunderhead.store.lineage import Lineage, Segment
from thunderhead.store.log import ExecutionLog, Taken, create_once, list_job, read_lineage, read_manifest
from thunderhead.store.memory import MemoryStore, Operation
from thunderhead.store.objects import Corrupt, PreconditionFailed, Unavailable


class Replies:
    """What becomes of each conditional put: ``ok``, ``lost`` (done, no answer), ``silent`` (not done, no answer)."""

    def __init__(self, *fates: str) -> None:
        self.fates = list(fates)

    def __call__(self, operation: Operation, effect: Any) -> Any:
        fate = self.fates.pop(0) if operation.kind == "create" else "ok"
        if fate == "ok":
            return effect()
        if fate == "lost":
            effect()
        raise Unavailable(fate)


@pytest.mark.parametrize(
    "fates", [("ok",), ("lost",), ("silent", "ok"), ("silent", "lost"), ("silent", "silent", "ok")], ids="-".join
)
def test_an_object_is_created_whatever_becomes_of_the_reply(fates: tuple[str, ...]) -> None:
    store = MemoryStore(perform=Replies(*fates))
    create_once(store, "k", b"mine")
    assert store.objects == {"k": b"mine"}


def test_creation_gives_up() -> None:
    with pytest.raises(Unavailable, match="could not be created in 3 tries"):
        create_once(MemoryStore(perform=Replies("silent", "silent", "silent")), "k", b"mine")


@pytest.mark.parametrize("fates", [("ok",), ("silent", "ok")])
def test_an_object_of_another_process_is_taken(fates: tuple[str, ...]) -> None:
    with pytest.raises(Taken, match="memory:///k was written by another process"):
        create_once(MemoryStore({"k": b"theirs"}, perform=Replies(*fates)), "k", b"mine")


def test_a_refusal_over_our_own_object_is_success() -> None:
    """The store tried twice inside: the first try was carried out, the second refused."""
    create_once(MemoryStore({"k": b"mine"}), "k", b"mine")


def claimed(store: MemoryStore, attempt: int, nonce: str = "nonce") -> ExecutionLog:
    log = ExecutionLog(store, Execution(attempt), nonce)
    log.claim(world_size=1, at=0)
    return log


def test_what_is_stored_names_an_execution_as_the_first_release_does() -> None:
    store = MemoryStore()
    log = claimed(store, 3)
    line = Lineage((Segment(Execution(3)), Segment(Execution(1, 2), 10)))
    log.write_base(line, base="memory:///x", at=0)
    log.commit(manifest(Commit(Execution(3), 20), line))
    documents = {key: json.loads(body) for key, body in store.objects.items()}
    assert sorted(documents) == [
        "epochs/000003-0000/base",
        "epochs/000003-0000/claim",
        "epochs/000003-0000/committed",
        "steps/000000000020/000003-0000.json",
    ]
    assert {document["epoch"] for document in documents.values()} == {"000003-0000"}
    told = [document["lineage"]["segments"] for document in documents.values() if "lineage" in document]
    assert told == [[{"epoch": "000003-0000", "last_step": None}, {"epoch": "000001-0002", "last_step": 10}]] * 2
    assert not any("execution" in body.decode() for body in store.objects.values())


def test_an_execution_is_claimed_once() -> None:
    store = MemoryStore()
    claimed(store, 1)
    claimed(store, 1)
    with pytest.raises(Superseded, match="execution 000001-0000 was claimed by another process"):
        claimed(store, 1, nonce="another")


def test_an_older_execution_cannot_claim_after_a_newer_one() -> None:
    store = MemoryStore()
    claimed(store, 2)
    with pytest.raises(Superseded, match="execution 000001-0000 is superseded by 000002-0000"):
        claimed(store, 1)


def test_a_commit_after_a_newer_claim_is_written_and_not_acknowledged() -> None:
    store = MemoryStore()
    older = claimed(store, 1)
    claimed(store, 2)
    late = manifest(Commit(Execution(1), 10))
    with pytest.raises(Superseded):
        older.commit(late)
    assert late.commit.key in store.objects


def test_a_store_that_ignores_conditions_is_refused() -> None:
    class Careless(MemoryStore):
        def put(self, key: str, body: Any, *, if_none_match: bool = False) -> None:
            super().put(key, body)

    store = Careless()
    with pytest.raises(StorageRefused, match="conditional writes"):
        claimed(store, 1)
    assert list(store.objects) == [claim_key(Execution(1))]


def test_a_second_process_of_an_execution_cannot_commit() -> None:
    store = MemoryStore()
    ExecutionLog(store, Execution(1), "a").commit(manifest(Commit(Execution(1), 10), Lineage()))
    with pytest.raises(Superseded, match="is run by another process too"):
        ExecutionLog(store, Execution(1), "b").commit(manifest(Commit(Execution(1), 10)))


def test_a_listing_shows_what_is_there_and_nothing_else() -> None:
    store = MemoryStore()
    log = claimed(store, 1)
    log.write_base(Lineage((Segment(Execution(1)),)), base=None, at=0)
    log.commit(manifest(Commit(Execution(1), 10)))
    store.put("steps/notes.txt", b"")
    store.put("epochs/1/claim/else", b"")
    claimed(store, 2)
    listing = list_job(store)
    assert listing.claims == {Execution(1), Execution(2)}
    assert listing.bases == {Execution(1)}
    assert listing.commits == {Commit(Execution(1), 10)}


def test_a_manifest_under_another_ones_key_is_corrupt() -> None:
    body = manifest(Commit(Execution(1), 10)).to_bytes()
    with pytest.raises(Corrupt, match="holds the manifest of step 10, execution 000001-0000"):
        read_manifest(MemoryStore({Commit(Execution(1), 20).key: body}), Commit(Execution(1), 20).key)


FIRST = Lineage((Segment(Execution(1)),))
SECOND = Lineage((Segment(Execution(2)), Segment(Execution(1), 10)))


def two_executions() -> MemoryStore:
    """Execution 1 committed steps 10 and 20, execution 2 began from step 10 and committed 15."""
    store = MemoryStore()
    for attempt, lineage, steps in ((1, FIRST, (10, 20)), (2, SECOND, (15,))):
        log = claimed(store, attempt)
        log.write_base(lineage, base=None, at=0)
        for step in steps:
            log.commit(manifest(Commit(Execution(attempt), step), lineage))
    return store


@pytest.mark.parametrize(
    ("damaged", "told"),
    [
        ((), SECOND),
        ((base_key(Execution(2)),), SECOND),
        ((Commit(Execution(2), 15).key,), SECOND),
        ((base_key(Execution(1)),), SECOND),
        (
            (base_key(Execution(2)), Commit(Execution(2), 15).key),
            Lineage((Segment(Execution(2)), Segment(Execution(1)))),
        ),
        ((base_key(Execution(1)), base_key(Execution(2))), SECOND),
    ],
)
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_the_newest_execution_that_can_still_tell_tells_the_lineage(
    damaged: tuple[str, ...], told: Lineage, how: str
) -> None:
    store = two_executions()
    listing = list_job(store)
    for key in damaged:
        if how == "cut":
            store.objects[key] = store.objects[key][:-1]
        else:
            del store.objects[key]
    assert read_lineage(store, listing) == told


def test_an_execution_that_died_before_its_base_tells_nothing() -> None:
    store = two_executions()
    claimed(store, 3)
    assert read_lineage(store, list_job(store)) == SECOND


def test_an_opening_execution_asks_the_ones_before_it() -> None:
    store = two_executions()
    assert read_lineage(store, list_job(store), before=Execution(2)) == FIRST
    assert read_lineage(store, list_job(store), before=Execution(1)) == Lineage()


def test_a_base_of_another_execution_is_not_believed() -> None:
    store = two_executions()
    store.objects[base_key(Execution(2))] = store.objects[base_key(Execution(1))]
    assert read_lineage(store, list_job(store)) == SECOND


def test_silence_is_no_damage() -> None:
    def silent(operation: Operation, effect: Any) -> Any:
        if operation.kind == "get":
            raise Unavailable("no answer")
        return effect()

    store = two_executions()
    listing = list_job(store)
    with pytest.raises(Unavailable):
        read_lineage(MemoryStore(store.objects, perform=silent), listing)


def test_memory_refuses_as_s3_does() -> None:
    store = MemoryStore({"k": b""})
    with pytest.raises(PreconditionFailed):
        store.put("k", b"", if_none_match=True)
