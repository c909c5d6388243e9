"""Reading shards back in chunks, and finding what a URI means."""

from __future__ import annotations

import os

import pytest

from thunderhead.job.parts import Kind
from thunderhead.store.checksums import Checksums, checksums_of
from thunderhead.store.manifest import StoredShard
from thunderhead.store.memory import MemoryStore
from thunderhead.store.objects import Corrupt, NotFound
from thunderhead.store.reading import fetch, job_roots, split_manifest_uri, verified_chunks

BODY = os.urandom(100)


def shard(chunk_bytes: int) -> StoredShard:
    return StoredShard("k", "local", Kind.LOCAL, 0, len(BODY), checksums_of(BODY, chunk_bytes))


@pytest.mark.parametrize("chunk_bytes", [1, 7, 50, 99, 100, 101])
def test_a_body_comes_back_in_chunks_and_whole(chunk_bytes: int) -> None:
    store = MemoryStore({"k": BODY})
    assert fetch(store, shard(chunk_bytes)) == BODY
    chunks = list(verified_chunks(store, shard(chunk_bytes)))
    assert b"".join(chunks) == BODY
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_bytes}


@pytest.mark.parametrize("chunk_bytes", [7, 100])
@pytest.mark.parametrize("place", [0, 50, 99])
def test_a_changed_byte_is_found_in_its_chunk(chunk_bytes: int, place: int) -> None:
    damaged = bytearray(BODY)
    damaged[place] ^= 128
    start = place // chunk_bytes * chunk_bytes
    with pytest.raises(Corrupt, match=f"memory:///k: bytes {start} to {min(100, start + chunk_bytes)} do not match"):
        fetch(MemoryStore({"k": bytes(damaged)}), shard(chunk_bytes))


def test_a_short_body_and_none_are_told_apart() -> None:
    with pytest.raises(Corrupt, match=r"\(2 bytes read\)|93 bytes, 100 were committed"):
        fetch(MemoryStore({"k": BODY[:93]}), shard(7))
    with pytest.raises(NotFound):
        fetch(MemoryStore(), shard(7))


def test_a_manifest_with_too_few_checksums_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="1 checksums for 100 bytes"):
        fetch(MemoryStore({"k": BODY}), StoredShard("k", "local", Kind.LOCAL, 0, 100, Checksums(0, (0,), 50)))


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        (
            "s3://b/p/n/j/u/steps/000000000010/000001-0000.json",
            ("s3://b/p/n/j/u", "steps/000000000010/000001-0000.json"),
        ),
        ("file:///steps/steps/1/1-0.json", ("file:///steps", "steps/1/1-0.json")),
        ("s3://b/p/n/j/u", None),
        ("s3://b/p/steps/10/1-0.json.bak", None),
        ("s3://b/p/steps/10", None),
    ],
)
def test_a_manifests_address(uri: str, parts: tuple[str, str] | None) -> None:
    assert split_manifest_uri(uri) == parts


def test_jobs_are_found_at_any_depth() -> None:
    keys = ["epochs/1-0/claim", "n/j/u/epochs/1-0/claim", "n/j/u/epochs/1-0/base", "n/epochs/u/epochs/2-0/claim", "n/x"]
    assert job_roots(MemoryStore(dict.fromkeys(keys, b""))) == ["", "n/epochs/u", "n/j/u"]
