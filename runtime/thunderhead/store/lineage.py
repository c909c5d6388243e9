"""Which commits count: pure functions over what is in the store.

S3 has no transaction over several keys, and a process that was frozen or cut off may write at any moment. So it is
never asked who wrote last. Each execution names its base, the commit it started from; following bases back from the
newest execution gives the lineage, and a commit counts if it lies on it:

    every commit of the newest execution;
    of the execution its base belongs to, those at or before the base; and so on, back to an execution that started from
    nothing.

Why no acknowledged commit is lost: execution E acknowledges a commit only when a listing made after writing it shows no
    claim newer than E. So a newer execution's claim was written after that commit, and its listing of commits, made
    after its claim, sees it. Why no late commit wins: a commit of E that F did not see lies after F's base, so F's
    lineage excludes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from thunderhead.store.executions import Commit, Execution
from thunderhead.store.members import mapping, member, sequence, text, whole
from thunderhead.store.objects import Corrupt


@dataclass(frozen=True, slots=True)
class Segment:
    """One execution's part of a lineage: its commits up to and including ``last_step`` (``None``: all of them)."""

    execution: Execution
    last_step: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Segment:
        """As a lineage writes it.

        Raises:
            Corrupt: not what it writes.
        """
        last = member(value, "last_step")
        return cls(
            Execution.parse(text(member(value, "epoch"), "epoch")), None if last is None else whole(last, "last_step")
        )

    def contains(self, commit: Commit) -> bool:
        return commit.execution == self.execution and (self.last_step is None or commit.step <= self.last_step)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Segments, newest first, and what the oldest of them started from.

    Attributes:
        segments: an execution occurs at most once, executions only fall.
        origin: URI of another job's manifest that the oldest segment started from; ``None``: from nothing.
    """

    segments: tuple[Segment, ...] = ()
    origin: str | None = None

    def counting(self, commits: Iterable[Commit]) -> list[Commit]:
        """Those of ``commits`` that count, newest first."""
        place = {segment.execution: index for index, segment in enumerate(self.segments)}
        counted = [
            commit
            for commit in commits
            if commit.execution in place and self.segments[place[commit.execution]].contains(commit)
        ]
        return sorted(counted, key=lambda commit: (place[commit.execution], -commit.step))

    def ending_at(self, base: Commit) -> Lineage:
        """The lineage cut so that ``base``, which must count, is its newest commit."""
        for index, segment in enumerate(self.segments):
            if segment.contains(base):
                return Lineage((Segment(base.execution, base.step), *self.segments[index + 1 :]), self.origin)
        raise AssertionError(f"{base} is not on the lineage {self}")

    def continued_by(self, execution: Execution) -> Lineage:
        """The lineage with ``execution`` as its newest segment."""
        return Lineage((Segment(execution), *self.segments), self.origin)

    def to_json(self) -> dict[str, Any]:
        segments = [{"epoch": str(segment.execution), "last_step": segment.last_step} for segment in self.segments]
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
        if any(newer.execution <= older.execution for newer, older in pairwise(segments)):
            raise Corrupt("the executions of a lineage do not fall")
        origin = member(value, "origin")
        return cls(segments, None if origin is None else text(origin, "origin"))


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing of one job shows, before any object is read.

    Attributes:
        claims: every execution that has begun.
        bases: those that have named what they started from.
        commits: every manifest, whether it counts or not.
        committed: executions that have committed at least once.
    """

    claims: frozenset[Execution] = field(default_factory=frozenset)
    bases: frozenset[Execution] = field(default_factory=frozenset)
    commits: frozenset[Commit] = field(default_factory=frozenset)
    committed: frozenset[Execution] = field(default_factory=frozenset)

    def newest_first(self) -> list[Execution]:
        """Executions that may be on the lineage: those with a base, or with a commit (which only a base allows)."""
        return sorted(self.bases | {commit.execution for commit in self.commits}, reverse=True)

    def missing(self, lineage: Lineage) -> str | None:
        """What says that a commit on ``lineage`` was made; asked where no manifest of one is left."""
        for segment in lineage.segments:
            if segment.last_step is not None:
                return f"a later execution began from step {segment.last_step} of execution {segment.execution}"
            if segment.execution in self.committed:
                return f"execution {segment.execution} has committed"
        return None

    def commits_of(self, execution: Execution) -> list[Commit]:
        """The commits of one execution, newest first."""
        return sorted((commit for commit in self.commits if commit.execution == execution), reverse=True)


def newer_than(execution: Execution, claims: Iterable[Execution]) -> Execution | None:
    """The newest claim after ``execution``, or ``None``."""
    return max((claim for claim in claims if claim > execution), default=None)
