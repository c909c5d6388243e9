"""Reading one commit back: every byte verified against the manifest before it is used."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from thunderhead.job.errors import InvalidConfiguration, NothingRestorable
from thunderhead.job.link import Tree
from thunderhead.store.checksums import crc64nvme
from thunderhead.store.codec import decode
from thunderhead.store.epochs import STEPS, Commit
from thunderhead.store.log import list_job, read_lineage, read_manifest
from thunderhead.store.manifest import Manifest, Shard
from thunderhead.store.objects import Corrupt, ObjectStore
from thunderhead.store.saver import TREE
from thunderhead.store.shards import read_shard


@dataclass(frozen=True, slots=True)
class Loaded:
    """A commit as one rank sees it; ``local`` is ``None`` where another number of ranks saved it."""

    manifest: Manifest
    replicated: Tree
    local: Tree


def load(store: ObjectStore, key: str, *, rank: int, world_size: int) -> Loaded:
    """Read what ``rank`` needs of the commit whose manifest is at ``key``.

    Raises:
        NotFound: the manifest or a shard is missing.
        Corrupt: the manifest or a shard is damaged.
    """
    manifest = read_manifest(store, key)
    replicated = load_tree(store, manifest.replicated(), store.uri(key))
    if manifest.world_size != world_size:
        return Loaded(manifest, replicated, None)
    return Loaded(manifest, replicated, load_tree(store, manifest.local(rank), store.uri(key)))


def load_tree(store: ObjectStore, shards: list[Shard], subject: str) -> Tree:
    """The tree that ``shards`` hold together; ``subject`` names the commit in messages."""
    skeletons: list[str] = []
    tensors: dict[str, torch.Tensor] = {}
    for shard in shards:
        content = read_shard(fetch(store, shard), store.uri(shard.key))
        tensors.update(content.tensors)
        skeletons += [content.metadata[TREE]] if TREE in content.metadata else []
    if len(skeletons) != 1:
        raise Corrupt(f"{subject}: {len(skeletons)} of {len(shards)} shards describe the tree, expected 1")
    return decode(json.loads(skeletons[0]), tensors)


def fetch(store: ObjectStore, shard: Shard) -> bytearray:
    """The body of ``shard``, verified chunk by chunk.

    Raises:
        NotFound: it is missing.
        Corrupt: it is shorter than committed, or a checksum differs.
    """
    step = shard.checksums.chunk_bytes
    if len(shard.checksums.chunks) != -(-shard.size // step):
        raise Corrupt(f"{store.uri(shard.key)}: {len(shard.checksums.chunks)} checksums for {shard.size} bytes")
    body = bytearray(shard.size)
    for start, expected in zip(range(0, shard.size, step), shard.checksums.chunks, strict=True):
        length = min(step, shard.size - start)
        chunk = store.get(shard.key, start=start, length=length)
        if len(chunk) != length or crc64nvme(chunk) != expected:
            raise Corrupt(
                f"{store.uri(shard.key)}: bytes {start} to {start + length} do not match their CRC64NVME "
                f"({len(chunk)} bytes read)"
            )
        body[start : start + length] = chunk
    return body


def split_manifest_uri(uri: str) -> tuple[str, str] | None:
    """Root and key of a manifest's URI, or ``None`` where ``uri`` names no manifest."""
    root, found, rest = uri.rpartition(f"/{STEPS}")
    key = f"{STEPS}{rest}"
    return (root, key) if found and Commit.of_key(key) else None


def counting_keys(store: ObjectStore) -> list[str]:
    """Keys of the manifests that count in another job's store, newest first.

    Raises:
        InvalidConfiguration: several jobs lie under the root; one must be named.
        NothingRestorable: none lies there.
    """
    listing = list_job(store)
    if listing.claims:
        keys = [commit.key for commit in read_lineage(store, listing).counting(listing.commits)]
        if keys:
            return keys
    roots = sorted({info.key.split("/epochs/")[0] for info in store.scan() if "/epochs/" in info.key})
    if roots and not listing.claims:
        raise InvalidConfiguration(f"{store.uri()} holds the checkpoints of {len(roots)} jobs; name one of {roots[:5]}")
    raise NothingRestorable(f"{store.uri()} holds no committed checkpoint to resume from")
