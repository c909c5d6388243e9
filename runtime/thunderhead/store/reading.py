"""Shards read back chunk by chunk, and where checkpoints lie: what needs no torch."""

from __future__ import annotations

from collections.abc import Iterator

from thunderhead.store.checksums import crc64nvme
from thunderhead.store.epochs import EPOCHS, STEPS, Commit
from thunderhead.store.manifest import Shard
from thunderhead.store.objects import Corrupt, ObjectStore


def verified_chunks(store: ObjectStore, shard: Shard) -> Iterator[bytes]:
    """The body of ``shard`` in chunks, each verified before it is handed out.

    Raises:
        NotFound: it is missing.
        Corrupt: it is shorter than committed, or a checksum differs.
    """
    step = shard.checksums.chunk_bytes
    if len(shard.checksums.chunks) != -(-shard.size // step):
        raise Corrupt(f"{store.uri(shard.key)}: {len(shard.checksums.chunks)} checksums for {shard.size} bytes")
    for start, expected in zip(range(0, shard.size, step), shard.checksums.chunks, strict=True):
        length = min(step, shard.size - start)
        chunk = store.get(shard.key, start=start, length=length)
        if len(chunk) != length or crc64nvme(chunk) != expected:
            raise Corrupt(
                f"{store.uri(shard.key)}: bytes {start} to {start + length} do not match their CRC64NVME "
                f"({len(chunk)} bytes read)"
            )
        yield chunk


def fetch(store: ObjectStore, shard: Shard) -> bytearray:
    """The whole body of ``shard``, verified; raises as :func:`verified_chunks` does."""
    body = bytearray(shard.size)
    start = 0
    for chunk in verified_chunks(store, shard):
        body[start : start + len(chunk)] = chunk
        start += len(chunk)
    return body


def split_manifest_uri(uri: str) -> tuple[str, str] | None:
    """Root and key of a manifest's URI, or ``None`` where ``uri`` names no manifest."""
    root, found, rest = uri.rpartition(f"/{STEPS}")
    key = f"{STEPS}{rest}"
    return (root, key) if found and Commit.of_key(key) else None


def job_roots(store: ObjectStore) -> list[str]:
    """Prefixes under the store's root at which a job's checkpoints lie; ``""`` is the root itself."""
    marks = (f"/{info.key}".rpartition(f"/{EPOCHS}") for info in store.scan())
    return sorted({root.removeprefix("/") for root, found, _ in marks if found})
