"""Values that several tests of the store start from."""

from __future__ import annotations

from thunderhead.job.parts import Kind
from thunderhead.store.checksums import Checksums
from thunderhead.store.executions import Commit, Execution, shard_folder
from thunderhead.store.lineage import Lineage, Segment
from thunderhead.store.manifest import Environment, Manifest, StoredShard

CHECKSUMS = Checksums(2**64 - 1, (0, 5), 16)


def manifest(commit: Commit | None = None, lineage: Lineage | None = None) -> Manifest:
    """A manifest of no real checkpoint."""
    commit = commit or Commit(Execution(3, 1), 120)
    folder = shard_folder(commit.execution, commit.step)
    return Manifest(
        commit=commit,
        nonce="n",
        world_size=2,
        position={"epoch": 1},
        lineage=lineage
        or Lineage((Segment(commit.execution), Segment(Execution(0, 5), 80)), "s3://other/steps/1.json"),
        shards=tuple(
            StoredShard(f"{folder}n-0000{rank}-{kind}.safetensors", kind.value, kind, rank, 20, CHECKSUMS)
            for rank, kind in ((0, Kind.REPLICATED), (0, Kind.LOCAL), (1, Kind.LOCAL))
        ),
        environment=Environment(torch="2", numpy="2", python="3", cpu="AVX2", threads=1),
        at=1.5,
    )
