"""What every object store must do: one contract, three implementations."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from thunderhead.job.errors import InvalidConfiguration
from thunderhead.store.by_uri import open_store
from thunderhead.store.memory import MemoryStore
from thunderhead.store.objects import NotFound, ObjectInfo, ObjectStore, PreconditionFailed


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """Each implementation, empty, rooted below its top."""
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "file":
        yield open_store(f"file://{tmp_path}/not/there yet")
    else:
        endpoint = request.getfixturevalue("s3_endpoint")
        yield open_store("s3://checkpoints/some/prefix", endpoint=endpoint)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.scan(prefix)]


def test_what_was_put_is_read_back(store: ObjectStore) -> None:
    for body in (b"", b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4], bytes(range(256)) * 100):
        store.put("a/b", body)
        assert store.get("a/b") == bytes(body)
        assert store.size("a/b") == len(body)


@pytest.mark.parametrize(
    ("start", "length", "found"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (8, 10, b"89"),
        (10, 1, b""),
        (12, None, b""),
        (2, 0, b""),
    ],
)
def test_a_range_is_read(store: ObjectStore, start: int, length: int | None, found: bytes) -> None:
    store.put("k", b"0123456789")
    assert store.get("k", start=start, length=length) == found


def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    store.put("a/b", b"")
    for missing in ("a/c", "a", "a/b/c", "b"):
        with pytest.raises(NotFound):
            store.get(missing)
        with pytest.raises(NotFound):
            store.size(missing)


def test_a_conditional_put_succeeds_once(store: ObjectStore) -> None:
    store.put("claim", b"first", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        store.put("claim", b"second", if_none_match=True)
    assert store.get("claim") == b"first"
    store.delete("claim")
    store.put("claim", b"third", if_none_match=True)
    assert store.get("claim") == b"third"


def test_an_unconditional_put_replaces(store: ObjectStore) -> None:
    store.put("k", b"long enough")
    store.put("k", b"short")
    assert store.get("k") == b"short"


def test_of_many_conditional_puts_at_once_one_wins(store: ObjectStore) -> None:
    won: list[int] = []
    gate = threading.Barrier(6)

    def contend(number: int) -> None:
        gate.wait()
        try:
            store.put("claim", f"{number}".encode(), if_none_match=True)
        except PreconditionFailed:
            return
        won.append(number)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("claim") == f"{won[0]}".encode()


def test_a_scan_finds_what_starts_with_the_prefix_in_order(store: ObjectStore) -> None:
    for key in ("steps/2/b", "steps/10/a", "steps-else", "steps/2/a", "claims/1"):
        store.put(key, key.encode())
    assert list(store.scan("claims/")) == [ObjectInfo("claims/1", 8)]
    assert keys(store, "steps/") == ["steps/10/a", "steps/2/a", "steps/2/b"]
    assert keys(store, "steps/2/a") == ["steps/2/a"]
    assert keys(store, "steps") == ["steps-else", "steps/10/a", "steps/2/a", "steps/2/b"]
    assert keys(store, "none/") == []
    assert len(keys(store)) == 5


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(store: ObjectStore) -> None:
    store.put("a/b/c", b"")
    store.put("a/d", b"")
    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("never/was")
    assert keys(store) == ["a/d"]
    store.put("a/b/c", b"again")
    assert store.get("a/b/c") == b"again"


def test_nothing_is_half_uploaded_after_whole_puts(store: ObjectStore) -> None:
    store.put("shards/x", b"abc")
    assert store.uploads("") == []


def test_an_address_leads_back(store: ObjectStore, s3_endpoint: str) -> None:
    store.put("k", b"found")
    if not isinstance(store, MemoryStore):
        assert open_store(store.uri(), endpoint=s3_endpoint).get("k") == b"found"
        assert store.uri("k") == f"{store.uri()}/k"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "bucket/prefix",
        "/path",
        "s3:/x",
        "s3://",
        "s3:///prefix",
        "gs://bucket",
        "file://relative/path",
        "file:path",
    ],
)
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(InvalidConfiguration, match="write s3://bucket/prefix, or file:///absolute/path"):
        open_store(uri)
