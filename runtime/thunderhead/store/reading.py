"""Shards read back chunk by chunk, and where checkpoints lie: what needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from thunderhead.store.checksums import crc64nvme
from thunderhead.store.executions import EXECUTIONS, STEPS, Commit
from thunderhead.store.manifest import StoredShard
from thunderhead.store.objects import Corrupt, ObjectStore

# As many as the S3 client keeps connections for without queueing.
_READERS: Final = 4


def verified_chunks(store: ObjectStore, shard: StoredShard) -> Iterator[bytes]:
    """The body of ``shard`` in chunks, each verified before it is handed out.

    Raises:
        NotFound: it is missing.
        Corrupt: it is shorter than committed, or a checksum differs.
    """
    for index in range(num_chunks(store, shard)):
        yield verified_chunk(store, shard, index)


def fetch(store: ObjectStore, shard: StoredShard) -> bytearray:
    """The whole body of ``shard``, verified; raises as :func:`verified_chunks` does.

    Several chunks are read at once: one connection to an object store carries a fraction of what a machine can take.
    """
    # Asked before so much memory is: what a manifest says may be nonsense.
    if num_chunks(store, shard) > 1 and (found := store.size(shard.key)) != shard.size:
        raise Corrupt(f"{store.uri(shard.key)}: {found} bytes, {shard.size} were committed")
    body = bytearray(shard.size)
    step = shard.checksums.chunk_bytes

    def place(index: int) -> None:
        chunk = verified_chunk(store, shard, index)
        body[index * step : index * step + len(chunk)] = chunk

    number = num_chunks(store, shard)
    if number == 1:
        place(0)
        return body
    with ThreadPoolExecutor(_READERS) as pool:
        for _ in pool.map(place, range(number)):
            pass
    return body


def num_chunks(store: ObjectStore, shard: StoredShard) -> int:
    """How many chunks ``shard`` consists of.

    Raises:
        Corrupt: the manifest holds another number of checksums.
    """
    number = -(-shard.size // shard.checksums.chunk_bytes)
    if len(shard.checksums.chunks) != number:
        raise Corrupt(f"{store.uri(shard.key)}: {len(shard.checksums.chunks)} checksums for {shard.size} bytes")
    return number


def verified_chunk(store: ObjectStore, shard: StoredShard, index: int) -> bytes:
    """One chunk of ``shard``; raises as :func:`verified_chunks` does."""
    start = index * shard.checksums.chunk_bytes
    length = min(shard.checksums.chunk_bytes, shard.size - start)
    chunk = store.get(shard.key, start=start, length=length)
    if len(chunk) != length or crc64nvme(chunk) != shard.checksums.chunks[index]:
        raise Corrupt(
            f"{store.uri(shard.key)}: bytes {start} to {start + length} do not match their CRC64NVME "
            f"({len(chunk)} bytes read)"
        )
    return chunk


def split_manifest_uri(uri: str) -> tuple[str, str] | None:
    """Root and key of a manifest's URI, or ``None`` where ``uri`` names no manifest."""
    root, found, rest = uri.rpartition(f"/{STEPS}")
    key = f"{STEPS}{rest}"
    return (root, key) if found and Commit.of_key(key) else None


def job_roots(store: ObjectStore) -> list[str]:
    """Prefixes under the store's root at which a job's checkpoints lie; ``""`` is the root itself."""
    marks = (f"/{info.key}".rpartition(f"/{EXECUTIONS}") for info in store.scan())
    return sorted({root.removeprefix("/") for root, found, _ in marks if found})
