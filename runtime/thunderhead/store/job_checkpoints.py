"""Committed checkpoints of one epoch of a job, seen from one rank: what the trainer opens, saves to and closes."""

from __future__ import annotations

import logging
import platform
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thunderhead.job.errors import StorageRefused, UnsupportedState
from thunderhead.job.link import Restored, Tree
from thunderhead.store.codec import encode
from thunderhead.store.epochs import Commit
from thunderhead.store.exchange import Exchange, Peers
from thunderhead.store.log import EpochLog
from thunderhead.store.manifest import LOCAL, REPLICATED, Environment, Manifest, Shard
from thunderhead.store.objects import ObjectStore, Unavailable
from thunderhead.store.opening import Opened, Opening, OpenStore, Restoration
from thunderhead.store.retention import abandon_uploads, collect
from thunderhead.store.saver import Staged, StagingBuffers, stage, upload
from thunderhead.store.settings import CheckpointSettings

logger = logging.getLogger(__name__)

OnCommit = Callable[[int, str, float], None]


@dataclass(frozen=True, slots=True)
class _Acknowledged:
    """The newest checkpoint of this job that is safe to rely on."""

    step: int
    uri: str
    at: float


class EpochCheckpoints:
    """Implements :class:`thunderhead.job.link.JobCheckpoints`.

    Args:
        store: rooted at the job.
        settings: how this rank takes part.
        exchange: shared by the ranks of this epoch alone.
        open_store: opens another job's store for ``resume`` by URI.
        on_commit: called with step, manifest URI and Unix time, on every rank, whenever the newest acknowledged
            checkpoint becomes known (by :meth:`open`) or changes (by :meth:`save`).
        clock: Unix time in seconds.
        nonce: tells this process from another of the same epoch; only rank 0's is used.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: CheckpointSettings,
        exchange: Exchange,
        *,
        open_store: OpenStore,
        on_commit: OnCommit | None = None,
        clock: Callable[[], float] = time.time,
        nonce: str | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._on_commit = on_commit
        self._clock = clock
        self._log = EpochLog(store, settings.epoch, nonce or secrets.token_hex(8))
        self._peers = Peers(
            exchange, rank=settings.rank, world_size=settings.world_size, timeout_s=settings.peer_timeout_s
        )
        self._opening = Opening(self._log, self._peers, resume=settings.resume, open_store=open_store, clock=clock)
        self._buffers = StagingBuffers()
        self._opened: Opened | None = None
        self._newest: _Acknowledged | None = None
        self._saves = 0

    def open(self) -> Restored | None:
        """See :meth:`thunderhead.job.link.JobCheckpoints.open`."""
        try:
            self._opened = self._opening.lead() if self._settings.rank == 0 else self._opening.follow()
        except Exception as error:
            self._peers.fail(error)
            raise
        restoration = self._opened.restoration
        return None if restoration is None else self._restored(restoration)

    def check(self, replicated: Tree, local: Tree) -> None:
        """See :meth:`thunderhead.job.link.JobCheckpoints.check`."""
        encode(replicated, REPLICATED)
        encode(local, LOCAL)

    def save(self, replicated: Tree, local: Tree, *, step: int, position: Mapping[str, Any]) -> None:
        """See :meth:`thunderhead.job.link.JobCheckpoints.save`."""
        assert self._opened is not None, "open() comes before save()"
        if self._newest is not None and step <= self._newest.step:
            assert step == self._newest.step, f"step {step} is before the acknowledged step {self._newest.step}"
            self._notify(self._newest)
            return
        self._saves += 1
        commit = Commit(self._settings.epoch, step)
        try:
            staged = self._stage(replicated, local)
            acknowledged = self._commit(staged, commit, position, self._opened)
            self._notify(acknowledged)
            if self._settings.rank == 0:
                self._collect(commit, self._opened)
        except Exception as error:
            self._peers.fail(error)
            raise

    def close(self) -> None:
        """See :meth:`thunderhead.job.link.JobCheckpoints.close`.

        A save is acknowledged when it returns, so nothing waits.
        """

    def _restored(self, restoration: Restoration) -> Restored:
        manifest = restoration.loaded.manifest
        if restoration.candidate.root is None:
            self._notify(_Acknowledged(manifest.commit.step, restoration.uri, manifest.at))
        if self._settings.rank == 0:
            differences = manifest.environment.differences(this_environment())
            if differences:
                logger.warning("resuming may not be bit-identical: %s", ", ".join(differences))
        return Restored(
            step=manifest.commit.step,
            replicated=restoration.loaded.replicated,
            local=restoration.loaded.local,
            uri=restoration.uri,
        )

    def _stage(self, replicated: Tree, local: Tree) -> Staged:
        return stage(
            replicated,
            local,
            self._buffers,
            rank=self._settings.rank,
            world_size=self._settings.world_size,
            min_share_bytes=self._settings.min_share_bytes,
        )

    def _commit(self, staged: Staged, commit: Commit, position: Mapping[str, Any], opened: Opened) -> _Acknowledged:
        """Upload this rank's part and wait until the commit is acknowledged. Needs nothing but what was staged."""
        shards = upload(self._store, staged, commit, nonce=opened.nonce, rank=self._settings.rank)
        topic = f"save/{self._saves}"
        self._peers.report(
            topic,
            {"shards": [shard.to_json() for shard in shards], "outline": staged.outline, "tensors": staged.num_tensors},
        )
        if self._settings.rank == 0:
            manifest = self._manifest(self._peers.reports(topic), commit, position, opened)
            self._log.commit(manifest)
            self._peers.announce(topic, {"at": manifest.at})
        at = self._peers.announced(topic)["at"]
        return _Acknowledged(commit.step, self._store.uri(commit.key), at)

    def _manifest(self, reports: list[Any], commit: Commit, position: Mapping[str, Any], opened: Opened) -> Manifest:
        for rank, report in enumerate(reports):
            if report["outline"] != reports[0]["outline"]:
                raise UnsupportedState(
                    f"the replicated state of rank {rank} ({report['tensors']} tensors) differs in names, types or "
                    f"shapes from rank 0's ({reports[0]['tensors']} tensors); keep what differs in a rank's local state"
                )
        return Manifest(
            commit=commit,
            nonce=opened.nonce,
            world_size=self._settings.world_size,
            position=position,
            lineage=opened.lineage,
            shards=tuple(Shard.from_json(shard) for report in reports for shard in report["shards"]),
            environment=this_environment(),
            at=self._clock(),
        )

    def _notify(self, acknowledged: _Acknowledged) -> None:
        self._newest = acknowledged
        if self._on_commit is not None:
            self._on_commit(acknowledged.step, acknowledged.uri, acknowledged.at)

    def _collect(self, newest: Commit, opened: Opened) -> None:
        """Retention. What cannot be deleted now is deleted after the next save, so it never ends the training."""
        try:
            collect(self._log, opened.lineage, newest=newest, base=opened.base, keep=self._settings.keep)
            if self._saves == 1:
                abandon_uploads(self._log)
        except (Unavailable, StorageRefused) as error:
            logger.warning("old checkpoints under %s could not be deleted: %s", self._store.uri(), error)


def this_environment() -> Environment:
    """What this process's bits depend on besides code and state."""
    return Environment(
        torch=str(torch.__version__),
        numpy=np.__version__,
        python=platform.python_version(),
        cpu=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
    )
