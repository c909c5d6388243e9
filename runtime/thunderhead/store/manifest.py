"""The manifest of one commit: what it consists of and how to verify it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from thunderhead.store.checksums import Checksums
from thunderhead.store.documents import seal, unseal
from thunderhead.store.epochs import Commit, Epoch
from thunderhead.store.lineage import Lineage
from thunderhead.store.objects import Corrupt

FORMAT: Final = "thunderhead job checkpoint"
VERSION: Final = 1

REPLICATED: Final = "replicated"
LOCAL: Final = "local"


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors object of a checkpoint.

    Attributes:
        key: relative to the job's root.
        content: ``"replicated"`` (a share of what all ranks hold alike) or ``"local"`` (what one rank alone holds).
        rank: who uploaded it.
        size: in bytes.
        checksums: CRC64NVME of the whole and of each chunk.
    """

    key: str
    content: str
    rank: int
    size: int
    checksums: Checksums

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "content": self.content,
            "rank": self.rank,
            "bytes": self.size,
            "crc64nvme": f"{self.checksums.whole:016x}",
            "chunk_bytes": self.checksums.chunk_bytes,
            "chunks_crc64nvme": [f"{chunk:016x}" for chunk in self.checksums.chunks],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shard:
        checksums = Checksums(
            whole=int(value["crc64nvme"], 16),
            chunks=tuple(int(chunk, 16) for chunk in value["chunks_crc64nvme"]),
            chunk_bytes=value["chunk_bytes"],
        )
        return cls(value["key"], value["content"], value["rank"], value["bytes"], checksums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What the bits of a training step depend on besides code and state; recorded, and compared on restore.

    Attributes:
        torch, numpy, python: versions.
        cpu: CPU capability that torch chose its kernels for, such as ``AVX2``.
        threads: intra-op threads of a rank.
    """

    torch: str
    numpy: str
    python: str
    cpu: str
    threads: int

    def differences(self, other: Environment) -> list[str]:
        """What differs, as ``name: this → other``."""
        mine, others = asdict(self), asdict(other)
        return [f"{name}: {mine[name]} → {others[name]}" for name in mine if mine[name] != others[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One commit of one job.

    Attributes:
        commit: epoch and step.
        nonce: drawn by the process that claimed the epoch; tells our own write from another's after a lost reply.
        world_size: ranks that saved it.
        position: the trainer's position, for people (the restored one is part of the replicated tree).
        lineage: the lineage up to and including this epoch, so that one readable manifest tells it.
        shards: every object of the checkpoint.
        environment: what else its continuation's bits depend on.
        at: Unix time of the commit by rank 0's clock, in seconds.
    """

    commit: Commit
    nonce: str
    world_size: int
    position: Mapping[str, Any]
    lineage: Lineage
    shards: tuple[Shard, ...]
    environment: Environment
    at: float

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    def replicated(self) -> list[Shard]:
        """Shards that every rank reads."""
        return [shard for shard in self.shards if shard.content == REPLICATED]

    def local(self, rank: int) -> list[Shard]:
        """Shards that only ``rank`` reads."""
        return [shard for shard in self.shards if shard.content == LOCAL and shard.rank == rank]

    def to_bytes(self) -> bytes:
        """Sealed JSON."""
        return seal(
            {
                "format": FORMAT,
                "version": VERSION,
                "epoch": str(self.commit.epoch),
                "step": self.commit.step,
                "nonce": self.nonce,
                "world_size": self.world_size,
                "at": self.at,
                "position": dict(self.position),
                "lineage": self.lineage.to_json(),
                "environment": asdict(self.environment),
                "shards": [shard.to_json() for shard in self.shards],
            }
        )

    @classmethod
    def from_bytes(cls, body: bytes, subject: str) -> Manifest:
        """The inverse of :meth:`to_bytes`.

        Raises:
            Corrupt: damaged, or not a manifest of a version that we read; ``subject`` names it in the message.
        """
        document = unseal(body, subject)
        if document.get("format") != FORMAT or document.get("version") != VERSION:
            found = f"{document.get('format')!r} version {document.get('version')!r}"
            raise Corrupt(f"{subject}: this is {found}; this release reads {FORMAT!r} version {VERSION}")
        try:
            return cls(
                commit=Commit(Epoch.parse(document["epoch"]), document["step"]),
                nonce=document["nonce"],
                world_size=document["world_size"],
                position=document["position"],
                lineage=Lineage.from_json(document["lineage"]),
                shards=tuple(Shard.from_json(shard) for shard in document["shards"]),
                environment=Environment(**document["environment"]),
                at=document["at"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"{subject}: a member is missing or malformed: {error}") from error
