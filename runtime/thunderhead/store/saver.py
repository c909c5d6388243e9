"""One rank's part of a save: state copied to host memory, then laid out, checksummed and uploaded.

Staging is the only part that must happen while training stands still. It is separate from uploading, which needs
nothing but the staged bytes, so that uploading can move to the background.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from thunderhead.job.link import Tree
from thunderhead.store.checksums import checksums_of
from thunderhead.store.codec import Encoded, encode
from thunderhead.store.executions import Commit, shard_folder
from thunderhead.store.manifest import LOCAL, REPLICATED, StoredShard
from thunderhead.store.objects import ObjectStore
from thunderhead.store.settings import MIN_SHARE_BYTES
from thunderhead.store.shards import layout_of, shares, write_shard

# Where a shard's header keeps the skeleton of its tree.
TREE: Final = "tree"


class StagingBuffers:
    """Host memory that is kept from save to save: copying into fresh pages costs five times a copy into warm ones."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def of(self, content: str, size: int) -> torch.Tensor:
        """A uint8 tensor of at least ``size`` bytes; what it held is lost."""
        buffer = self._buffers.get(content)
        if buffer is None or len(buffer) < size:
            buffer = torch.empty(size, dtype=torch.uint8)
            self._buffers[content] = buffer
        return buffer


@dataclass(frozen=True, slots=True)
class StagedShard:
    """A shard in a staging buffer: valid until the next save is staged."""

    content: str
    body: memoryview


@dataclass(frozen=True, slots=True)
class Staged:
    """What one rank will upload for one commit.

    Attributes:
        shards: this rank's share of the replicated tree (where it has one) and its local tree.
        outline: digest over names, types and shapes of all replicated tensors; ranks that disagree hold different
            trees.
        num_tensors: how many those are.
    """

    shards: tuple[StagedShard, ...]
    outline: str
    num_tensors: int


def stage(
    replicated: Tree,
    local: Tree,
    buffers: StagingBuffers,
    *,
    rank: int,
    world_size: int,
    min_share_bytes: int = MIN_SHARE_BYTES,
) -> Staged:
    """Copy this rank's part of both trees into ``buffers``; the trees may change afterwards.

    Raises:
        UnsupportedState: something that could not be restored without pickle.
    """
    whole = encode(replicated, REPLICATED)
    own = encode(local, LOCAL)
    names = share_of(whole.tensors, rank=rank, world_size=world_size, min_share_bytes=min_share_bytes)
    shards = []
    if names or rank == 0:
        share = {name: whole.tensors[name] for name in names}
        # The tree itself is replicated too, and rank 0 alone writes it.
        metadata = {TREE: _skeleton(whole)} if rank == 0 else {}
        shards.append(_stage_shard(REPLICATED, share, metadata, buffers))
    shards.append(_stage_shard(LOCAL, own.tensors, {TREE: _skeleton(own)}, buffers))
    if torch.cuda.is_available():
        torch.cuda.current_stream().synchronize()
    return Staged(tuple(shards), _outline(whole), len(whole.tensors))


def share_of(tensors: Mapping[str, torch.Tensor], *, rank: int, world_size: int, min_share_bytes: int) -> list[str]:
    """Names of the replicated tensors that ``rank`` uploads."""
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    num_shares = max(1, min(world_size, sum(sizes.values()) // max(1, min_share_bytes)))
    return shares(sizes, num_shares)[rank] if rank < num_shares else []


def upload(store: ObjectStore, staged: Staged, commit: Commit, *, nonce: str, rank: int) -> list[StoredShard]:
    """Write the staged shards to keys that nothing was ever written to."""
    uploaded = []
    for shard, key in zip(staged.shards, shard_keys(staged, commit, nonce=nonce, rank=rank), strict=True):
        checksums = checksums_of(shard.body)
        store.put(key, shard.body)
        uploaded.append(StoredShard(key, shard.content, rank, len(shard.body), checksums))
    return uploaded


def shard_keys(staged: Staged, commit: Commit, *, nonce: str, rank: int) -> list[str]:
    """Where :func:`upload` puts the staged shards."""
    folder = shard_folder(commit.execution, commit.step)
    return [f"{folder}{nonce}-{rank:05d}-{shard.content}.safetensors" for shard in staged.shards]


def _stage_shard(
    content: str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], buffers: StagingBuffers
) -> StagedShard:
    layout = layout_of(tensors, metadata)
    buffer = buffers.of(content, layout.size)
    write_shard(layout, list(tensors.values()), buffer)
    return StagedShard(content, buffer.numpy()[: layout.size].data)


def _skeleton(encoded: Encoded) -> str:
    return json.dumps(encoded.skeleton, separators=(",", ":"), allow_nan=False)


def _outline(encoded: Encoded) -> str:
    lines: list[Any] = [[name, str(tensor.dtype), list(tensor.shape)] for name, tensor in encoded.tensors.items()]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()
