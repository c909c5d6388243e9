"""The manifest of one commit: what it consists of and how to verify it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from thunderhead.job.parts import LOCAL, REPLICATED, Kind
from thunderhead.store.checksums import Checksums
from thunderhead.store.documents import seal, unseal
from thunderhead.store.executions import Commit, Execution, shard_of_key
from thunderhead.store.lineage import Lineage
from thunderhead.store.members import checksum, mapping, member, moment, sequence, text, truth, whole
from thunderhead.store.objects import Corrupt
from thunderhead.store.savable import may_be_named

FORMAT: Final = "thunderhead job checkpoint"
VERSION: Final = 1

# Those that we read and write.
_KINDS: Final = {kind.value: kind for kind in (Kind.REPLICATED, Kind.LOCAL)}

# Far beyond what we write, and small enough to be read at once.
MAX_CHUNK_BYTES: Final = 1024**3
MAX_RANKS: Final = 2**31


@dataclass(frozen=True, slots=True)
class StoredShard:
    """One safetensors object of a checkpoint.

    Attributes:
        key: relative to the job's root.
        content: name of the part that it is, or that it is a share of.
        kind: of that part; a part that bears the name of a kind is of that kind.
        rank: who uploaded it.
        size: in bytes.
        checksums: CRC64NVME of the whole and of each chunk.
    """

    key: str
    content: str
    kind: Kind
    rank: int
    size: int
    checksums: Checksums

    def to_json(self) -> dict[str, Any]:
        # Written only where the name does not say it: the first release knows no other parts and no such member.
        kind = {} if self.content == self.kind else {"kind": str(self.kind)}
        return {
            "key": self.key,
            "content": self.content,
            **kind,
            "rank": self.rank,
            "bytes": self.size,
            "crc64nvme": f"{self.checksums.whole:016x}",
            "chunk_bytes": self.checksums.chunk_bytes,
            "chunks_crc64nvme": [f"{chunk:016x}" for chunk in self.checksums.chunks],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StoredShard:
        """The inverse of :meth:`to_json`.

        Raises:
            Corrupt: what no upload can have been.
        """
        chunks = sequence(member(value, "chunks_crc64nvme"), "chunks_crc64nvme")
        checksums = Checksums(
            whole=checksum(member(value, "crc64nvme"), "crc64nvme"),
            chunks=tuple(checksum(chunk, "chunks_crc64nvme") for chunk in chunks),
            chunk_bytes=whole(member(value, "chunk_bytes"), "chunk_bytes", low=1, high=MAX_CHUNK_BYTES),
        )
        size = whole(member(value, "bytes"), "bytes", low=1)
        if len(chunks) != -(-size // checksums.chunk_bytes):
            raise Corrupt(f"{len(chunks)} checksums for {size} bytes in chunks of {checksums.chunk_bytes}")
        content = text(member(value, "content"), "content")
        kind = _KINDS.get(text(value.get("kind", content), "kind"))
        if kind is None or not may_be_named(content, kind):
            raise Corrupt(f"content is malformed: {content[:40]!r}")
        rank = whole(member(value, "rank"), "rank", high=MAX_RANKS)
        return cls(text(member(value, "key"), "key"), content, kind, rank, size, checksums)


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

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Environment:
        """The inverse of ``asdict``.

        Raises:
            Corrupt: not what it gives.
        """
        return cls(
            torch=text(member(value, "torch"), "torch"),
            numpy=text(member(value, "numpy"), "numpy"),
            python=text(member(value, "python"), "python"),
            cpu=text(member(value, "cpu"), "cpu"),
            threads=whole(member(value, "threads"), "threads", low=1),
        )

    def differences(self, other: Environment) -> list[str]:
        """What differs, as ``name: this → other``."""
        mine, others = asdict(self), asdict(other)
        return [f"{name}: {mine[name]} → {others[name]}" for name in mine if mine[name] != others[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One commit of one job.

    Attributes:
        commit: execution and step.
        nonce: drawn by the process that claimed the execution; tells our own write from another's after a lost reply.
        world_size: ranks that saved it.
        position: the trainer's position, for people (the restored one is in the replicated part).
        lineage: the lineage up to and including this execution, so that one readable manifest tells it.
        shards: every object of the checkpoint.
        environment: what else its continuation's bits depend on.
        at: Unix time of the commit by rank 0's clock, in seconds.
        finite: every loss up to it and every parameter in it was a number, on every rank.
    """

    commit: Commit
    nonce: str
    world_size: int
    position: Mapping[str, Any]
    lineage: Lineage
    shards: tuple[StoredShard, ...]
    environment: Environment
    at: float
    finite: bool = True

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    @property
    def parts(self) -> dict[str, Kind]:
        """Kinds of all parts, by name."""
        return {shard.content: shard.kind for shard in self.shards}

    def read_by(self, rank: int | None) -> dict[str, list[StoredShard]]:
        """What ``rank`` reads, by part; a rank of another number of ranks (None) reads no local part."""
        read: dict[str, list[StoredShard]] = {}
        for shard in self.shards:
            if shard.kind is not Kind.LOCAL or shard.rank == rank:
                read.setdefault(shard.content, []).append(shard)
        return read

    def to_bytes(self) -> bytes:
        """Sealed JSON."""
        return seal(
            {
                "format": FORMAT,
                "version": VERSION,
                "epoch": str(self.commit.execution),
                "step": self.commit.step,
                "nonce": self.nonce,
                "world_size": self.world_size,
                "at": self.at,
                "position": dict(self.position),
                "lineage": self.lineage.to_json(),
                "environment": asdict(self.environment),
                "finite": self.finite,
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
            manifest = cls._from_document(document)
            manifest._check()
        except Corrupt as error:
            raise Corrupt(f"{subject}: {error}") from error
        return manifest

    @classmethod
    def _from_document(cls, document: Mapping[str, Any]) -> Manifest:
        shards = sequence(member(document, "shards"), "shards")
        return cls(
            commit=Commit(
                Execution.parse(text(member(document, "epoch"), "epoch")), whole(member(document, "step"), "step")
            ),
            nonce=text(member(document, "nonce"), "nonce"),
            world_size=whole(member(document, "world_size"), "world_size", low=1, high=MAX_RANKS),
            position=mapping(member(document, "position"), "position"),
            lineage=Lineage.from_json(mapping(member(document, "lineage"), "lineage")),
            shards=tuple(StoredShard.from_json(mapping(shard, "shards")) for shard in shards),
            environment=Environment.from_json(mapping(member(document, "environment"), "environment")),
            at=moment(member(document, "at"), "at"),
            # Manifests of before there was such a member have none.
            finite=truth(document.get("finite", True), "finite"),
        )

    def _check(self) -> None:
        """What its members say of one another.

        Raises:
            Corrupt: a contradiction.
        """
        for shard in self.shards:
            # Also what keeps a key from leading anywhere else: outside of the job, or to another commit's objects.
            if shard_of_key(shard.key) != self.commit:
                raise Corrupt(f"{shard.key[:80]!r} is no key of a shard of this commit")
        for name in dict.fromkeys((REPLICATED, LOCAL, *self.parts)):
            self._check_part(name)
        if len({shard.key for shard in self.shards}) != len(self.shards):
            raise Corrupt("two shards have one key")
        if not self.lineage.segments or self.lineage.segments[0].execution != self.commit.execution:
            raise Corrupt(f"its lineage does not begin with {self.commit.execution}")

    def _check_part(self, name: str) -> None:
        shards = [shard for shard in self.shards if shard.content == name]
        kind = _KINDS.get(name) or shards[0].kind
        if any(shard.kind is not kind for shard in shards):
            raise Corrupt(f"part {name!r} is of two kinds")
        ranks = sorted(shard.rank for shard in shards)
        # The number first: a manifest may speak of more ranks than can be counted.
        if kind is Kind.LOCAL and (len(ranks) != self.world_size or ranks != list(range(self.world_size))):
            raise Corrupt(f"{len(ranks)} {name} shards for {self.world_size} ranks")
        if kind is Kind.REPLICATED and 0 not in ranks:
            raise Corrupt(f"rank 0's share of part {name!r}, which all ranks hold alike, is missing")
