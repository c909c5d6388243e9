"""Reading one commit back: every byte verified against the manifest before it is used."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from thunderhead.job.parts import Part, Parts, Tree
from thunderhead.store.codec import decode
from thunderhead.store.log import read_manifest
from thunderhead.store.manifest import Manifest, StoredShard
from thunderhead.store.objects import Corrupt, ObjectStore
from thunderhead.store.reading import fetch
from thunderhead.store.saver import TREE
from thunderhead.store.shards import read_shard


@dataclass(frozen=True, slots=True)
class Loaded:
    """A commit as one rank sees it: without its local parts, where another number of ranks saved it."""

    manifest: Manifest
    parts: Parts


def load(store: ObjectStore, key: str, *, rank: int, world_size: int) -> Loaded:
    """Read what ``rank`` needs of the commit whose manifest is at ``key``.

    Raises:
        NotFound: the manifest or a shard is missing.
        Corrupt: the manifest or a shard is damaged.
    """
    manifest = read_manifest(store, key)
    read = manifest.read_by(rank if manifest.world_size == world_size else None)
    kinds, uri = manifest.parts, store.uri(key)
    return Loaded(manifest, {name: Part(load_tree(store, shards, uri), kinds[name]) for name, shards in read.items()})


def load_tree(store: ObjectStore, shards: list[StoredShard], subject: str) -> Tree:
    """The tree that ``shards`` hold together; ``subject`` names the commit in messages."""
    skeletons: list[str] = []
    tensors: dict[str, torch.Tensor] = {}
    for shard in shards:
        content = read_shard(fetch(store, shard), store.uri(shard.key))
        tensors.update(content.tensors)
        skeletons += [content.metadata[TREE]] if TREE in content.metadata else []
    if len(skeletons) != 1:
        raise Corrupt(f"{subject}: {len(skeletons)} of {len(shards)} shards describe the tree, expected 1")
    try:
        skeleton = json.loads(skeletons[0])
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{subject}: the description of the tree is no JSON: {error}") from error
    return decode(skeleton, tensors)
