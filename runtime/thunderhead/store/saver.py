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

from thunderhead.device_kinds import wait_for_copies
from thunderhead.job.parts import Kind, Parts
from thunderhead.store.checksums import checksums_of
from thunderhead.store.codec import Encoded, encode
from thunderhead.store.executions import Commit, shard_folder
from thunderhead.store.manifest import StoredShard
from thunderhead.store.objects import ObjectStore
from thunderhead.store.savable import refuse_unsavable
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
    kind: Kind
    body: memoryview


@dataclass(frozen=True, slots=True)
class Staged:
    """What one rank will upload for one commit.

    Attributes:
        shards: this rank's share of each replicated part (where it has one) and its local parts.
        outline: digest over names, types and shapes of all replicated tensors; ranks that disagree hold different
            parts.
        num_tensors: how many those are.
    """

    shards: tuple[StagedShard, ...]
    outline: str
    num_tensors: int


def stage(
    parts: Parts,
    buffers: StagingBuffers,
    *,
    rank: int,
    world_size: int,
    min_share_bytes: int = MIN_SHARE_BYTES,
) -> Staged:
    """Copy what this rank writes of all parts into ``buffers``; the trees may change afterwards.

    Raises:
        UnsupportedState: something that could not be restored without pickle.
        InvalidConfiguration: a part that is not saved.
    """
    refuse_unsavable(parts)
    encoded = {name: encode(part.tree, name) for name, part in parts.items()}
    replicated = {name: whole for name, whole in encoded.items() if parts[name].kind is Kind.REPLICATED}
    shards = []
    for name, whole in encoded.items():
        tensors, metadata = whole.tensors, {TREE: _skeleton(whole)}
        if name in replicated:
            mine = share_of(whole.tensors, rank=rank, world_size=world_size, min_share_bytes=min_share_bytes)
            if not mine and rank != 0:
                continue
            tensors = {tensor: whole.tensors[tensor] for tensor in mine}
            # The tree itself is replicated too, and rank 0 alone writes it.
            metadata = metadata if rank == 0 else {}
        shards.append(_stage_shard(name, parts[name].kind, tensors, metadata, buffers))
    wait_for_copies()
    return Staged(tuple(shards), _outline(replicated), sum(len(whole.tensors) for whole in replicated.values()))


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
        uploaded.append(StoredShard(key, shard.content, shard.kind, rank, len(shard.body), checksums))
    return uploaded


def shard_keys(staged: Staged, commit: Commit, *, nonce: str, rank: int) -> list[str]:
    """Where :func:`upload` puts the staged shards."""
    folder = shard_folder(commit.execution, commit.step)
    return [f"{folder}{nonce}-{rank:05d}-{shard.content}.safetensors" for shard in staged.shards]


def _stage_shard(
    content: str,
    kind: Kind,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    buffers: StagingBuffers,
) -> StagedShard:
    layout = layout_of(tensors, metadata)
    buffer = buffers.of(content, layout.size)
    write_shard(layout, list(tensors.values()), buffer)
    return StagedShard(content, kind, buffer.numpy()[: layout.size].data)


def _skeleton(encoded: Encoded) -> str:
    return json.dumps(encoded.skeleton, separators=(",", ":"), allow_nan=False)


def _outline(replicated: Mapping[str, Encoded]) -> str:
    lines: list[Any] = [
        [part, name, str(tensor.dtype), list(tensor.shape)]
        for part, encoded in replicated.items()
        for name, tensor in encoded.tensors.items()
    ]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()
