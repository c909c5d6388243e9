"""Which commits count: pure functions over what is in the store.

S3 has no transaction over several keys, and a process that was frozen or cut off may write at any moment. So it is
never asked who wrote last. Each epoch names its base, the commit it started from; following bases back from the
newest epoch gives the lineage, and a commit counts if it lies on it:

    every commit of the newest epoch;
    of the epoch its base belongs to, those at or before the base; and so on, back to an epoch that started from
    nothing.

Why no acknowledged commit is lost: epoch E acknowledges a commit only when a listing made after writing it shows no
    claim newer than E. So a newer epoch's claim was written after that commit, and its listing of commits, made after
    its claim, sees it. Why no late commit wins: a commit of E that F did not see lies after F's base, so F's lineage
    excludes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from thunderhead.store.epochs import Commit, Epoch
from thunderhead.store.members import mapping, member, sequence, text, whole
from thunderhead.store.objects import Corrupt


@dataclass(frozen=True, slots=True)
class Segment:
    """One epoch's part of a lineage: its commits up to and including ``last_step`` (``None``: all of them)."""

    epoch: Epoch
    last_step: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Segment:
        """As a lineage writes it.

        Raises:
            Corrupt: not what it writes.
        """
        last = member(value, "last_step")
        return cls(
            Epoch.parse(text(member(value, "epoch"), "epoch")), None if last is None else whole(last, "last_step")
        )

    def contains(self, commit: Commit) -> bool:
        return commit.epoch == self.epoch and (self.last_step is None or commit.step <= self.last_step)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Segments, newest first, and what the oldest of them started from.

    Attributes:
        segments: an epoch occurs at most once, epochs only fall.
        origin: URI of another job's manifest that the oldest segment started from; ``None``: from nothing.
    """

    segments: tuple[Segment, ...] = ()
    origin: str | None = None

    def counting(self, commits: Iterable[Commit]) -> list[Commit]:
        """Those of ``commits`` that count, newest first."""
        place = {segment.epoch: index for index, segment in enumerate(self.segments)}
        counted = [
            commit
            for commit in commits
            if commit.epoch in place and self.segments[place[commit.epoch]].contains(commit)
        ]
        return sorted(counted, key=lambda commit: (place[commit.epoch], -commit.step))

    def ending_at(self, base: Commit) -> Lineage:
        """The lineage cut so that ``base``, which must count, is its newest commit."""
        for index, segment in enumerate(self.segments):
            if segment.contains(base):
                return Lineage((Segment(base.epoch, base.step), *self.segments[index + 1 :]), self.origin)
        raise AssertionError(f"{base} is not on the lineage {self}")

    def continued_by(self, epoch: Epoch) -> Lineage:
        """The lineage with ``epoch`` as its newest segment."""
        return Lineage((Segment(epoch), *self.segments), self.origin)

    def to_json(self) -> dict[str, Any]:
        segments = [{"epoch": str(segment.epoch), "last_step": segment.last_step} for segment in self.segments]
        return {"segments": segments, "origin": self.origin}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Lineage:
        """The inverse of :meth:`to_json`.

        Raises:
            Corrupt: not what it writes.
        """
        segments = tuple(
            Segment.from_json(mapping(item, "segments")) for item in sequence(member(value, "segments"), "segments")
        )
        if any(newer.epoch <= older.epoch for newer, older in pairwise(segments)):
            raise Corrupt("the epochs of a lineage do not fall")
        origin = member(value, "origin")
        return cls(segments, None if origin is None else text(origin, "origin"))


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing of one job shows, before any object is read.

    Attributes:
        claims: every epoch that has begun.
        bases: those that have named what they started from.
        commits: every manifest, whether it counts or not.
        committed: epochs that have committed at least once.
    """

    claims: frozenset[Epoch] = field(default_factory=frozenset)
    bases: frozenset[Epoch] = field(default_factory=frozenset)
    commits: frozenset[Commit] = field(default_factory=frozenset)
    committed: frozenset[Epoch] = field(default_factory=frozenset)

    def newest_first(self) -> list[Epoch]:
        """Epochs that may be on the lineage: those with a base, or with a commit (which only a base allows)."""
        return sorted(self.bases | {commit.epoch for commit in self.commits}, reverse=True)

    def missing(self, lineage: Lineage) -> str | None:
        """What says that a commit on ``lineage`` was made; asked where no manifest of one is left."""
        for segment in lineage.segments:
            if segment.last_step is not None:
                return f"a later epoch began from step {segment.last_step} of epoch {segment.epoch}"
            if segment.epoch in self.committed:
                return f"epoch {segment.epoch} has committed"
        return None

    def commits_of(self, epoch: Epoch) -> list[Commit]:
        """The commits of one epoch, newest first."""
        return sorted((commit for commit in self.commits if commit.epoch == epoch), reverse=True)


def newer_than(epoch: Epoch, claims: Iterable[Epoch]) -> Epoch | None:
    """The newest claim after ``epoch``, or ``None``."""
    return max((claim for claim in claims if claim > epoch), default=None)
