"""Committed checkpoints of one execution of a job, seen from one rank: what the trainer opens, saves to and closes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from thunderhead.job.errors import Stopped, StorageRefused
from thunderhead.job.link import Restored, Skipped
from thunderhead.job.parts import Parts
from thunderhead.standing import logger_of
from thunderhead.store.codec import encode
from thunderhead.store.exchange import Exchange, Peers
from thunderhead.store.executions import Commit
from thunderhead.store.log import ExecutionLog
from thunderhead.store.members import as_moment
from thunderhead.store.objects import ObjectStore, Unavailable
from thunderhead.store.opening import Opened, Opening, OpenStore, Restoration
from thunderhead.store.patient import PatientStore
from thunderhead.store.retention import abandon_uploads, collect
from thunderhead.store.savable import refuse_unsavable
from thunderhead.store.saver import Staged, StagingBuffers, stage
from thunderhead.store.saving import Acknowledged, Contribution, Saves, this_environment
from thunderhead.store.settings import CheckpointSettings
from thunderhead.store.trouble import unavailable
from thunderhead.store.watch import StoreWatch

logger = logger_of(__name__)

OnCommit = Callable[[int, str, float], None]


class ExecutionCheckpoints:
    """Implements :class:`thunderhead.job.link.JobCheckpoints`.

    Args:
        store: rooted at the job.
        settings: how this rank takes part.
        exchange: shared by the ranks of this execution alone.
        open_store: opens another job's store for ``resume`` by URI.
        on_commit: called with step, manifest URI and Unix time, on every rank, whenever the newest acknowledged
            checkpoint becomes known (by :meth:`open`) or changes (by :meth:`save`).
        on_back: called on rank 0, from a thread of its own, when a store that took no checkpoint takes writes again.
        asked: whether this rank was asked to stop, so that opening no longer waits for a store that is away.
        clock: Unix time in seconds.
        nonce: tells this process from another of the same execution; only rank 0's is used.
        sleep, monotonic: the pauses while the store is away, and the clock of the waiting.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: CheckpointSettings,
        exchange: Exchange,
        *,
        open_store: OpenStore,
        on_commit: OnCommit | None = None,
        on_back: Callable[[], None] | None = None,
        asked: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        nonce: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_commit = on_commit
        self._asked = asked
        self._clock = lambda: as_moment(clock())
        self._sleep = sleep
        self._monotonic = monotonic
        self._store = self._patient(store)
        self._log = ExecutionLog(self._store, settings.execution, nonce or secrets.token_hex(8))
        self._peers = Peers(
            exchange, rank=settings.rank, world_size=settings.world_size, timeout_s=settings.peer_timeout_s
        )
        self._opening = Opening(
            self._log,
            self._peers,
            resume=settings.resume,
            known=settings.known,
            open_store=lambda uri: self._patient(open_store(uri)),
            clock=self._clock,
        )
        self._watch = StoreWatch(self._log.probe, on_back)
        self._buffers = StagingBuffers()
        self._opened: Opened | None = None
        self._saving: Saves | None = None
        self._newest: Acknowledged | None = None
        self._collected = False

    def open(self) -> Restored | None:
        """See :meth:`thunderhead.job.link.JobCheckpoints.open`."""
        try:
            self._opened = self._open()
        except Exception as error:
            self._peers.fail(error)
            raise
        self._store.patience_s = 0.0
        self._saving = Saves(
            self._store,
            self._log,
            self._peers,
            self._opened,
            self._watch,
            on_acknowledged=self._notify,
            clock=self._clock,
            sleep=self._sleep,
            monotonic=self._monotonic,
        )
        restoration = self._opened.restoration
        return None if restoration is None else self._restored(restoration)

    @property
    def non_finite_step(self) -> int | None:
        """See :class:`thunderhead.job.link.JobCheckpoints`."""
        return None if self._saving is None else self._saving.non_finite_step

    def check(self, parts: Parts) -> None:
        """See :meth:`thunderhead.job.link.JobCheckpoints.check`."""
        refuse_unsavable(parts)
        for name, part in parts.items():
            encode(part.tree, name)

    def save(
        self,
        parts: Parts,
        *,
        step: int,
        position: Mapping[str, Any],
        patience_s: float = 0.0,
        non_finite_step: int | None = None,
    ) -> Skipped | None:
        """See :meth:`thunderhead.job.link.JobCheckpoints.save`."""
        assert self._opened is not None, "open() comes before save()"
        assert self._saving is not None
        if self._newest is not None and step <= self._newest.step:
            assert step == self._newest.step, f"step {step} is before the acknowledged step {self._newest.step}"
            self._notify(self._newest)
            return None
        commit = Commit(self._settings.execution, step)
        try:
            mine = Contribution(commit, position, self._stage(parts), non_finite_step)
            skipped = self._saving.save(mine, patience_s=patience_s)
            if skipped is None and self._settings.rank == 0:
                self._collect(commit, self._opened, self._saving.finite)
        except Exception as error:
            self._peers.fail(error)
            raise
        return skipped

    def close(self) -> None:
        """See :meth:`thunderhead.job.link.JobCheckpoints.close`.

        A save is acknowledged when it returns, so nothing waits.
        """
        self._watch.end()

    def _open(self) -> Opened:
        try:
            return self._opening.lead() if self._settings.rank == 0 else self._opening.follow()
        except Unavailable as error:
            if self._asked():
                raise Stopped(f"stopped as asked, while waiting for the checkpoint store: {error}") from None
            # Only the last line of it says anything to who reads the log.
            raise unavailable(str(error), self._settings.patience_s) from None

    def _patient(self, store: ObjectStore) -> PatientStore:
        patient = PatientStore(store, hurried=self._asked, sleep=self._sleep, monotonic=self._monotonic)
        patient.patience_s = self._settings.patience_s
        return patient

    def _restored(self, restoration: Restoration) -> Restored:
        manifest = restoration.loaded.manifest
        if restoration.candidate.root is None:
            self._notify(Acknowledged(manifest.commit.step, restoration.uri, manifest.at))
        if self._settings.rank == 0:
            differences = manifest.environment.differences(this_environment())
            if differences:
                logger.warning("resuming may not be bit-identical: %s", ", ".join(differences))
        return Restored(
            step=manifest.commit.step,
            parts=restoration.loaded.parts,
            uri=restoration.uri,
            passed_over=self._opened.passed_over if self._opened is not None else (),
        )

    def _stage(self, parts: Parts) -> Staged:
        return stage(
            parts,
            self._buffers,
            rank=self._settings.rank,
            world_size=self._settings.world_size,
            min_share_bytes=self._settings.min_share_bytes,
        )

    def _notify(self, acknowledged: Acknowledged) -> None:
        self._newest = acknowledged
        if self._on_commit is not None:
            self._on_commit(acknowledged.step, acknowledged.uri, acknowledged.at)

    def _collect(self, newest: Commit, opened: Opened, finite: Commit | None) -> None:
        """Retention. What cannot be deleted now is deleted after the next save, so it never ends the training."""
        try:
            precious = [commit for commit in (opened.base, finite) if commit is not None]
            collect(self._log, opened.lineage, newest=newest, precious=precious, keep=self._settings.keep)
            if not self._collected:
                abandon_uploads(self._log)
                self._collected = True
        except (Unavailable, StorageRefused) as error:
            logger.warning("old checkpoints under %s could not be deleted: %s", self._store.uri(), error)
