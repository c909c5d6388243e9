"""Values that several tests of the store start from."""

from __future__ import annotations

from thunderhead.store.checksums import Checksums
from thunderhead.store.epochs import Commit, Epoch
from thunderhead.store.lineage import Lineage, Segment
from thunderhead.store.manifest import Environment, Manifest, Shard


def manifest(commit: Commit | None = None, lineage: Lineage | None = None) -> Manifest:
    """A manifest of no real checkpoint."""
    return Manifest(
        commit=commit or Commit(Epoch(3, 1), 120),
        nonce="n",
        world_size=2,
        position={"epoch": 1},
        lineage=lineage or Lineage((Segment(Epoch(3, 1)), Segment(Epoch(1), 80)), "s3://other/steps/1.json"),
        shards=(Shard("shards/x", "local", 1, 20, Checksums(2**64 - 1, (0, 5), 16)),),
        environment=Environment(torch="2", numpy="2", python="3", cpu="AVX2", threads=1),
        at=1.5,
    )
