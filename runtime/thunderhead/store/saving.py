"""One save, made by all ranks together: committed, or skipped by all of them where the store does not take it.

Rank 0 decides for all, so that no rank counts on a checkpoint that another one gave up. Per try, under its topic::

    rank 0 → all      after trouble only: is the store back, and what became of the manifest that got no answer
    all → rank 0      what this rank uploaded, or what kept it from that
    rank 0 → all      acknowledged; or skipped, or once more

A manifest whose write got no answer is *in doubt*: it may exist, and may yet appear. Nothing else is uploaded before it
has been written for certain, with the same bytes: a commit is never taken back, and its shards are never overwritten.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from thunderhead.job.errors import StorageRefused, UnsupportedState
from thunderhead.job.link import Skipped
from thunderhead.standing import logger_of
from thunderhead.store.exchange import Peers
from thunderhead.store.executions import Commit
from thunderhead.store.limits import TRIES_BESIDE_TRAINING, Limit, limited
from thunderhead.store.log import ExecutionLog
from thunderhead.store.manifest import Environment, Manifest, StoredShard
from thunderhead.store.objects import ObjectStore, StoreError
from thunderhead.store.opening import Opened
from thunderhead.store.saver import Staged, shard_keys, upload
from thunderhead.store.trouble import TOLERATED_REFUSALS, Trouble, given_up, refusal_of, trouble_of
from thunderhead.store.watch import StoreWatch

logger = logger_of(__name__)

# Between two tries of a save that is not skipped.
PAUSE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A checkpoint of this job that is safe to rely on; ``non_finite_step`` as of when it was acknowledged."""

    step: int
    uri: str
    at: float
    non_finite_step: int | None = None


@dataclass(slots=True)
class Contribution:
    """One rank's part of one save: staged once, uploaded once, however often the commit is tried."""

    commit: Commit
    position: Mapping[str, Any]
    staged: Staged
    non_finite_step: int | None = None
    uploaded: list[StoredShard] | None = None


class Saves:
    """The saves of one execution, as one rank takes part in them.

    Args:
        store: rooted at the job.
        log: of this execution.
        peers: the other ranks.
        opened: what the execution started from.
        watch: looks for the store while it is away; used on rank 0.
        on_acknowledged: called on every rank, also for a commit that turns out to exist after all.
        clock: Unix time in seconds.
        sleep, monotonic: the pauses between tries, and the clock of the waiting.

    Attributes:
        finite: the newest commit whose losses and parameters are numbers; known to rank 0 alone.
        non_finite_step: the earliest at which any rank found otherwise; rank 0 knows it first.
    """

    def __init__(
        self,
        store: ObjectStore,
        log: ExecutionLog,
        peers: Peers,
        opened: Opened,
        watch: StoreWatch,
        *,
        on_acknowledged: Callable[[Acknowledged], None],
        clock: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._log = log
        self._peers = peers
        self._opened = opened
        self._watch = watch
        self._on_acknowledged = on_acknowledged
        self._clock = clock
        self._sleep = sleep
        self._monotonic = monotonic
        self._leads = peers.rank == 0
        self._number = 0
        self._in_a_row = 0
        self._refused_in_a_row = 0
        self._doubt: Manifest | None = None
        self._leftovers: list[str] = []
        self.finite = opened.finite
        self.non_finite_step: int | None = None

    def save(self, mine: Contribution, *, patience_s: float) -> Skipped | None:
        """Try until it is acknowledged (``None``), or skipped by all ranks.

        Raises:
            Superseded: a newer execution exists.
            StorageRefused, StorageUnavailable: see :meth:`thunderhead.job.link.JobCheckpoints.save`.
        """
        give_up = self._monotonic() + patience_s
        with limited(self._limit(give_up) if patience_s else Limit(tries=TRIES_BESIDE_TRAINING)):
            return self._save(mine, patience_s, give_up)

    def _limit(self, give_up: float) -> Limit:
        return Limit(over_after=lambda pause_s: self._monotonic() + pause_s >= give_up)

    def _save(self, mine: Contribution, patience_s: float, give_up: float) -> Skipped | None:
        self._number += 1
        attempt = 0
        while isinstance(
            outcome := self._try(f"save/{self._number}/{attempt}", mine, give_up, again=attempt > 0), Trouble
        ):
            if not outcome.again and patience_s:
                raise given_up(outcome, patience_s)
            if not outcome.again:
                return self._skip(outcome, mine)
            if attempt == 0 and self._leads:
                logger.warning("%s; trying again for up to %g s", outcome.message, patience_s)
            self._sleep(PAUSE_S)
            attempt += 1
        self._in_a_row = self._refused_in_a_row = 0
        self._watch.end()
        return None

    def _try(self, topic: str, mine: Contribution, give_up: float, *, again: bool) -> Acknowledged | Trouble:
        peers = self._peers
        if again or self._in_a_row:
            if self._leads:
                peers.announce(f"{topic}/look", self._look(give_up))
            seen = self._heard(peers.announced(f"{topic}/look"))
            if isinstance(seen, Trouble) or (seen is not None and seen.step == mine.commit.step):
                return seen
        peers.report(topic, self._upload(mine))
        if self._leads:
            peers.announce(topic, self._lead(topic, mine, give_up))
        outcome = self._heard(peers.announced(topic))
        assert outcome is not None, "rank 0 says how a try ended"
        return outcome

    def _heard(self, message: Mapping[str, Any]) -> Acknowledged | Trouble | None:
        """What rank 0 announced: how a try ended, or, before one, nothing that matters."""
        if "message" in message:
            return Trouble.from_json(message)
        if not message:
            return None
        acknowledged = Acknowledged(**message)
        self.non_finite_step = acknowledged.non_finite_step
        self._on_acknowledged(acknowledged)
        return acknowledged

    # --- every rank ------------------------------------------------------------------------------------------------

    def _upload(self, mine: Contribution) -> dict[str, Any]:
        try:
            if mine.uploaded is None:
                self._remove_leftovers()
                mine.uploaded = upload(
                    self._store, mine.staged, mine.commit, nonce=self._opened.nonce, rank=self._peers.rank
                )
        except (StoreError, StorageRefused) as error:
            found = trouble_of(error)
            return (found.found_by(self._peers.rank) if self._peers.world_size > 1 else found).to_json()
        return {
            "shards": [shard.to_json() for shard in mine.uploaded],
            "outline": mine.staged.outline,
            "tensors": mine.staged.num_tensors,
            "non_finite_step": mine.non_finite_step,
        }

    def _remove_leftovers(self) -> None:
        """Shards of saves that were skipped: on a full volume they are what the next save lacks."""
        keys, self._leftovers = self._leftovers, []
        with suppress(StoreError, StorageRefused):
            for key in keys:
                self._store.delete(key)

    def _skip(self, trouble: Trouble, mine: Contribution) -> Skipped:
        self._in_a_row += 1
        self._refused_in_a_row = self._refused_in_a_row + 1 if trouble.refused else 0
        if self._refused_in_a_row > TOLERATED_REFUSALS:
            raise refusal_of(trouble, in_a_row=self._refused_in_a_row)
        if not trouble.doubtful:
            self._leftovers += shard_keys(mine.staged, mine.commit, nonce=self._opened.nonce, rank=self._peers.rank)
        step = mine.commit.step
        if self._leads:
            left = f" ({self._refused_in_a_row} of {TOLERATED_REFUSALS} refusals in a row that are tolerated)"
            logger.warning(
                "the checkpoint of step %d is skipped, training goes on%s: %s",
                *(step, left if trouble.refused else "", trouble.message),
            )
            self._watch.begin(trouble, in_a_row=self._in_a_row)
        return Skipped(step=step, why=trouble.message, in_a_row=self._in_a_row)

    # --- rank 0 ----------------------------------------------------------------------------------------------------

    def _look(self, give_up: float) -> dict[str, Any]:
        """After trouble: don't let all ranks stage and upload for a store that is known to be away."""
        again = self._may_try_again(give_up)
        if self._watch.trouble is not None and not again:
            return replace(self._watch.trouble, doubtful=self._doubt is not None).to_json()
        if self._doubt is None:
            return {}
        return self._commit(self._doubt, give_up)

    def _lead(self, topic: str, mine: Contribution, give_up: float) -> dict[str, Any]:
        reports = self._peers.reports(topic)
        self._hear_of_numbers(reports)
        found = next((Trouble.from_json(report) for report in reports if "message" in report), None)
        if found is not None:
            return replace(found, again=self._may_try_again(give_up)).to_json()
        return self._commit(self._manifest(reports, mine), give_up)

    def _commit(self, manifest: Manifest, give_up: float) -> dict[str, Any]:
        self._doubt = manifest
        try:
            self._log.commit(manifest)
        except (StoreError, StorageRefused) as error:
            return replace(trouble_of(error), again=self._may_try_again(give_up), doubtful=True).to_json()
        self._doubt = None
        commit = manifest.commit
        if manifest.finite:
            self.finite = commit
        uri = self._store.uri(commit.key)
        return {"step": commit.step, "uri": uri, "at": manifest.at, "non_finite_step": self.non_finite_step}

    def _hear_of_numbers(self, reports: list[Any]) -> None:
        found = [self.non_finite_step, *(report.get("non_finite_step") for report in reports)]
        self.non_finite_step = min((step for step in found if step is not None), default=None)

    def _may_try_again(self, give_up: float) -> bool:
        return self._monotonic() + PAUSE_S < give_up

    def _manifest(self, reports: list[Any], mine: Contribution) -> Manifest:
        for rank, report in enumerate(reports):
            if report["outline"] != reports[0]["outline"]:
                raise UnsupportedState(
                    f"the replicated state of rank {rank} ({report['tensors']} tensors) differs in names, types or "
                    f"shapes from rank 0's ({reports[0]['tensors']} tensors); keep what differs in a rank's local state"
                )
        return Manifest(
            commit=mine.commit,
            nonce=self._opened.nonce,
            world_size=self._peers.world_size,
            position=mine.position,
            lineage=self._opened.lineage,
            shards=tuple(StoredShard.from_json(shard) for report in reports for shard in report["shards"]),
            environment=this_environment(),
            at=self._clock(),
            finite=all(report["non_finite_step"] is None for report in reports),
        )


def this_environment() -> Environment:
    """What this process's bits depend on besides code and state."""
    return Environment(
        torch=str(torch.__version__),
        numpy=np.__version__,
        python=platform.python_version(),
        cpu=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
    )
