"""Committed checkpoints as they lie in S3, read back by the product's own verifying reader and compared bit by bit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from thunderhead.job.parts import LOCAL, REPLICATED
from thunderhead.store.by_uri import open_store
from thunderhead.store.executions import Commit, Execution
from thunderhead.store.log import list_job, read_lineage, read_manifest
from thunderhead.store.objects import ObjectStore
from thunderhead.store.reading import fetch
from thunderhead.store.restore import load, load_tree

from .run import Run

_OF_THE_POD: Final = re.compile(r"\.local\[\d+\]\.counters\.records\[\d+\]: ")
"""How many records lie in a logger's directory, which begins anew with each pod."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One commit, whole: what all ranks hold alike, and what each holds alone."""

    execution: Execution
    step: int
    uri: str
    world_size: int
    size: int
    replicated: Any
    local: Sequence[Any]

    @property
    def losses(self) -> dict[int, list[str]]:
        """The loss of every rank at every step, as `float.hex`, as `workloads/probe.py` keeps it."""
        return next(tree["by_step"] for tree in _dicts([self.replicated, *self.local]) if "by_step" in tree)

    def differences(self, other: Checkpoint) -> list[str]:
        """Paths of all values that are not bit for bit those of another checkpoint, but for what is a pod's own."""
        mine = {"replicated": self.replicated, "local": self.local}
        others = {"replicated": other.replicated, "local": other.local}
        return [line for line in _differences(mine, others, "") if not _OF_THE_POD.match(line)]


class Commits:
    """Checkpoints of the scenarios' jobs. Credentials come from the environment, as a job's do."""

    def __init__(self, uri: str, *, endpoint: str, region: str) -> None:
        self._uri = uri
        self._endpoint = endpoint
        self._region = region

    def store(self, run: Run) -> ObjectStore:
        """The store of one job, rooted where its checkpoints lie."""
        root = f"{self._uri}/{run.namespace}/{run.name}/{run.uid}"
        return open_store(root, endpoint=self._endpoint, region=self._region)

    def counting(self, run: Run) -> list[Commit]:
        """The commits that count, newest first."""
        store = self.store(run)
        listing = list_job(store)
        return list(read_lineage(store, listing).counting(listing.commits))

    def manifests(self, run: Run) -> list[Commit]:
        """Every manifest there is, also those that do not count."""
        return sorted(list_job(self.store(run)).commits)

    def executions(self, run: Run) -> list[Execution]:
        """Every execution that has claimed the job."""
        return sorted(list_job(self.store(run)).claims)

    def newest(self, run: Run) -> Checkpoint:
        """The newest commit that counts, read back and verified."""
        return self.load(run, self.counting(run)[0])

    def load(self, run: Run, commit: Commit) -> Checkpoint:
        """One commit, read back and verified; raises Corrupt where a checksum differs."""
        store = self.store(run)
        manifest = read_manifest(store, commit.key)
        loaded = load(store, commit.key, rank=0, world_size=manifest.world_size)
        ranks = range(manifest.world_size)
        return Checkpoint(
            execution=commit.execution,
            step=commit.step,
            uri=store.uri(commit.key),
            world_size=manifest.world_size,
            size=manifest.size,
            replicated=loaded.parts[REPLICATED].tree,
            local=[load_tree(store, manifest.read_by(rank)[LOCAL], commit.key) for rank in ranks],
        )

    def verify(self, run: Run) -> int:
        """Reads every byte of every commit that counts against its checksums; returns how many commits."""
        store = self.store(run)
        commits = self.counting(run)
        for commit in commits:
            for shard in read_manifest(store, commit.key).shards:
                fetch(store, shard)
        return len(commits)


def _dicts(tree: Any) -> Iterator[Mapping[Any, Any]]:
    """Every mapping in a tree, the outer ones first."""
    if isinstance(tree, Mapping):
        yield tree
        for value in tree.values():
            yield from _dicts(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _dicts(value)


def _differences(mine: Any, other: Any, path: str) -> Iterator[str]:
    if type(mine) is not type(other):
        yield f"{path}: {type(mine).__name__} and {type(other).__name__}"
    elif isinstance(mine, Mapping):
        if list(mine) != list(other):
            yield f"{path}: keys {list(mine)[:20]} and {list(other)[:20]}"
        for key in mine.keys() & other.keys():
            yield from _differences(mine[key], other[key], f"{path}.{key}")
    elif isinstance(mine, list | tuple):
        if len(mine) != len(other):
            yield f"{path}: {len(mine)} and {len(other)} members"
        for index, (left, right) in enumerate(zip(mine, other, strict=False)):
            yield from _differences(left, right, f"{path}[{index}]")
    elif _bits(mine) != _bits(other):
        yield f"{path}: {str(mine)[:80]} and {str(other)[:80]}"


def _bits(value: Any) -> object:
    """Something that is equal exactly where two values are the same bits: NaN equals itself, 0.0 is not -0.0."""
    if isinstance(value, torch.Tensor):
        raw = value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
        return (value.dtype, value.shape, raw)
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    return value.hex() if isinstance(value, float) else value
