"""Which checkpoints may go, and deleting them without ever touching what a newer execution could build on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from thunderhead.job.errors import StorageRefused
from thunderhead.store.executions import SHARDS, Commit, Execution, shard_of_key, writer_of_key
from thunderhead.store.lineage import Lineage, Listing
from thunderhead.store.log import ExecutionLog, list_job


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays.

    Attributes:
        commits: their manifests and shards.
        execution: whose retention this is; anything of a newer execution stays too.
        newest: the newest acknowledged commit; shards of this execution after it may be in the making.
    """

    commits: frozenset[Commit]
    execution: Execution
    newest: Commit

    def drops_manifest(self, commit: Commit) -> bool:
        return commit.execution <= self.execution and commit not in self.commits

    def drops_shard_of(self, commit: Commit) -> bool:
        in_the_making = commit.execution == self.execution and commit.step > self.newest.step
        return self.drops_manifest(commit) and not in_the_making


def kept_of(listing: Listing, lineage: Lineage, *, newest: Commit, precious: Iterable[Commit], keep: int) -> Kept:
    """Keep the newest ``keep`` commits that count, and those that are precious whatever their age.

    One is the base: the newest commit that was read back whole, so one that is known to restore always stays. The
    other is the newest from before a loss or a parameter was no number: what follows it may be worth nothing.
    Bases of older executions need not stay: the lineage refers to them by name. Everything off the lineage goes: late
    commits of superseded executions, commits found damaged, uploads without a manifest.
    """
    counting = lineage.counting(listing.commits)
    return Kept(frozenset({*counting[:keep], newest, *precious}), newest.execution, newest)


def collect(log: ExecutionLog, lineage: Lineage, *, newest: Commit, precious: Collection[Commit], keep: int) -> int:
    """Delete what :func:`kept_of` does not keep; returns the number of objects deleted.

    Called after ``newest`` was acknowledged. Manifests go first, oldest first, so that no manifest ever lacks a
    shard. Claims are listed before each delete: a newer execution stops it, because what is old for us may be what that
    execution has just chosen.

    Raises:
        Superseded: a newer execution exists.
    """
    listing = list_job(log.store)
    kept = kept_of(listing, lineage, newest=newest, precious=precious, keep=keep)
    manifests = [commit.key for commit in sorted(listing.commits) if kept.drops_manifest(commit)]
    shards = [info.key for info in log.store.scan(SHARDS) if _is_dropped(info.key, kept)]
    for key in [*manifests, *shards]:
        log.check_not_superseded()
        log.store.delete(key)
    return len(manifests) + len(shards)


def make_room(log: ExecutionLog) -> None:
    """Drop what older executions began to write and never finished, before anything is written ourselves.

    On a volume that is full of such leftovers not even a claim could be written otherwise. Claims need not be asked
    for: an older execution that still lives writes again what it finds gone. A store that does not let us list them may
    still have room, which the claim will show.
    """
    with suppress(StorageRefused):
        for upload in log.store.uploads(""):
            execution = writer_of_key(upload.key)
            # Without an execution in its name it was written by a release before this one.
            if execution is None or execution < log.execution:
                log.store.abandon(upload)


def abandon_uploads(log: ExecutionLog) -> int:
    """Drop uploads that older executions have begun since this one opened, and never finished; returns how many.

    They cost storage and are in no listing.

    Raises:
        Superseded: a newer execution exists.
    """
    abandoned = 0
    for upload in log.store.uploads(""):
        execution = writer_of_key(upload.key)
        if execution is not None and execution < log.execution:
            log.check_not_superseded()
            log.store.abandon(upload)
            abandoned += 1
    return abandoned


def _is_dropped(key: str, kept: Kept) -> bool:
    commit = shard_of_key(key)
    return commit is not None and kept.drops_shard_of(commit)
