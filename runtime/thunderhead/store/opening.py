"""Opening an execution: claim it, agree on the newest commit that every rank can read back whole, name it as the base.

Rank 0 leads. Under the topics ``open/0``, ``open/1``, … it announces one commit after the other, newest first; every
rank reads what it needs of it, verifying as it reads, and reports a complaint or none. The first without complaints
becomes the base, and the last message says that the opening is settled. So verification costs no read that restoring
would not need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from thunderhead.job.errors import InvalidConfiguration, NothingRestorable
from thunderhead.job.link import PassedOver
from thunderhead.standing import logger_of
from thunderhead.store.exchange import Peers
from thunderhead.store.executions import Commit
from thunderhead.store.lineage import Lineage, Listing
from thunderhead.store.log import ExecutionLog, list_job, read_lineage, read_manifest, suppress_damage
from thunderhead.store.objects import Corrupt, NotFound, ObjectStore
from thunderhead.store.reading import job_roots, split_manifest_uri
from thunderhead.store.restore import Loaded, load
from thunderhead.store.retention import make_room

logger = logger_of(__name__)

OpenStore = Callable[[str], ObjectStore]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A manifest to try: of this job (``root`` is ``None``), or of another whose checkpoints lie under ``root``."""

    root: str | None
    key: str


@dataclass(frozen=True, slots=True)
class _Known:
    """A commit that is known of by its URI."""

    commit: Commit
    root: str
    uri: str


@dataclass(frozen=True, slots=True)
class Restoration:
    """What was chosen and read."""

    loaded: Loaded
    candidate: Candidate
    uri: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The outcome of an opening.

    Attributes:
        restoration: the base as this rank read it; ``None`` where the execution starts from nothing.
        lineage: up to and including this execution; known to rank 0 alone.
        base: the base, where it is a commit of this job; known to rank 0 alone.
        nonce: rank 0's.
        passed_over: newer commits that were given up, newest first; known to rank 0 alone.
        finite: the newest commit of this job, up to the base, whose losses and parameters were numbers; known to rank 0
            alone.
    """

    restoration: Restoration | None
    lineage: Lineage
    base: Commit | None
    nonce: str
    passed_over: tuple[PassedOver, ...] = ()
    finite: Commit | None = None


class Opening:
    """One opening, as one rank takes part in it.

    Args:
        log: of this execution; its nonce is used on rank 0 only.
        peers: the other ranks.
        resume: ``"Auto"``, ``"Never"`` or a URI.
        known: URI of the newest commit that the job's status knows of.
        open_store: opens another job's store.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        log: ExecutionLog,
        peers: Peers,
        *,
        resume: str,
        known: str | None,
        open_store: OpenStore,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._peers = peers
        self._resume = resume
        self._known = known
        self._passed_over: list[PassedOver] = []
        self._open_store = open_store
        self._clock = clock

    def lead(self) -> Opened:
        """Rank 0's part.

        Raises:
            Superseded, StorageRefused, NothingRestorable: see :class:`thunderhead.job.link.JobCheckpoints`.
        """
        make_room(self._log)
        self._log.claim(world_size=self._peers.world_size, at=self._clock())
        candidates, lineage = self._candidates()
        for number, candidate in enumerate(candidates):
            restoration = self._propose(number, candidate)
            if restoration is not None:
                return self._settle(number + 1, lineage, restoration, self._finite(restoration, candidates[number:]))
            # A newer execution deletes what it does not keep: what we cannot read may be no damage at all.
            self._log.check_not_superseded()
        if candidates:
            raise NothingRestorable(
                f"none of the {len(candidates)} committed checkpoints under {self._log.store.uri()} can be read back "
                "whole; to start over on purpose, set checkpoint.resume to Never"
            )
        return self._settle(0, lineage, None)

    def follow(self) -> Opened:
        """The part of every other rank."""
        restoration: Restoration | None = None
        number = 0
        while True:
            message = self._peers.announced(f"open/{number}")
            if message["settled"]:
                return Opened(restoration, Lineage(), None, message["nonce"])
            restoration, complaint = self._try(Candidate(message["root"], message["key"]))
            self._peers.report(f"open/{number}", complaint)
            number += 1

    def _candidates(self) -> tuple[list[Candidate], Lineage]:
        """Commits to try, newest first, and the lineage that those of this job are on."""
        if self._resume == "Never":
            return [], Lineage()
        listing = list_job(self._log.store)
        lineage = read_lineage(self._log.store, listing, before=self._log.execution)
        candidates = [Candidate(None, commit.key) for commit in lineage.counting(listing.commits)]
        self._look_for_the_known(listing, lineage, found=bool(candidates))
        if lineage.origin is not None:
            # An earlier execution started there; what that prefix resolves to today may be something else.
            candidates += self._resolve(lineage.origin)
        elif not candidates and self._resume != "Auto":
            candidates += self._resolve(self._resume)
        return candidates, lineage

    def _look_for_the_known(self, listing: Listing, lineage: Lineage, *, found: bool) -> None:
        """Missing manifests are not "nothing saved yet".

        Raises:
            NothingRestorable: a commit of this job was made, and none is left.
        """
        gone = self._known_but_gone(listing)
        if found:
            if gone is not None and all(gone.commit > other for other in listing.commits):
                self._passed_over.append(PassedOver(step=gone.commit.step, uri=gone.uri, why="its manifest is gone"))
            return
        root = self._log.store.uri()
        why = f"the job's status names {gone.uri}" if gone is not None else listing.missing(lineage)
        if why is not None:
            elsewhere = gone is not None and gone.root != root
            remedy = "go on from there by checkpoint.resume, or correct checkpoint.uri" if elsewhere else "restore it"
            raise NothingRestorable(
                f"a checkpoint was committed ({why}), and no manifest is left under {root}: {remedy}; to start over on "
                "purpose, set checkpoint.resume to Never"
            )

    def _known_but_gone(self, listing: Listing) -> _Known | None:
        """The commit that the job's status knows of, unless it is there.

        One that is there and does not count was given up on purpose, by an attempt with ``resume: Never``; one
        at another address is gone on from on purpose where ``resume`` leads there.
        """
        manifest = split_manifest_uri(self._known) if self._known else None
        commit = Commit.of_key(manifest[1]) if manifest else None
        if manifest is None or commit is None or self._known is None:
            return None
        is_here = manifest[0] == self._log.store.uri()
        if (is_here and commit in listing.commits) or (not is_here and self._resume.startswith(manifest[0])):
            return None
        return _Known(commit, manifest[0], self._known)

    def _resolve(self, uri: str) -> list[Candidate]:
        manifest = split_manifest_uri(uri)
        if manifest:
            return [Candidate(*manifest)]
        root = uri.rstrip("/")
        store = self._open_store(root)
        listing = list_job(store)
        counting = read_lineage(store, listing).counting(listing.commits)
        if counting:
            return [Candidate(root, commit.key) for commit in counting]
        jobs = [] if listing.claims else [f"{root}/{job}" for job in job_roots(store)]
        others = [job for job in jobs if job != self._log.store.uri()]
        if others:
            raise InvalidConfiguration(
                f"checkpoint.resume: {root} holds the checkpoints of {len(others)} jobs; name one of them: "
                + ", ".join(others[:5])
            )
        raise NothingRestorable(f"checkpoint.resume: {root} holds no committed checkpoint")

    def _propose(self, number: int, candidate: Candidate) -> Restoration | None:
        """Have every rank read ``candidate``; ``None`` where one of them cannot."""
        self._peers.announce(f"open/{number}", {"settled": False, "root": candidate.root, "key": candidate.key})
        restoration, complaint = self._try(candidate)
        self._peers.report(f"open/{number}", complaint)
        complaints = [text for text in self._peers.reports(f"open/{number}") if text is not None]
        if not complaints:
            return restoration
        found = Commit.of_key(candidate.key)
        assert found is not None, "candidates are manifests"
        uri = f"{candidate.root or self._log.store.uri()}/{candidate.key}"
        self._passed_over.append(PassedOver(step=found.step, uri=uri, why="; ".join(complaints[:3])))
        logger.warning(
            "checkpoint %s is damaged; trying the one before it: %s", candidate.key, "; ".join(complaints[:3])
        )
        return None

    def _try(self, candidate: Candidate) -> tuple[Restoration | None, str | None]:
        """Read ``candidate``; the second value is the complaint where it is damaged."""
        store = self._log.store if candidate.root is None else self._open_store(candidate.root)
        try:
            loaded = load(store, candidate.key, rank=self._peers.rank, world_size=self._peers.world_size)
        except (Corrupt, NotFound) as error:
            return None, f"rank {self._peers.rank}: {error}"
        return Restoration(loaded, candidate, store.uri(candidate.key)), None

    def _finite(self, restoration: Restoration, candidates: list[Candidate]) -> Commit | None:
        """The newest of ``candidates`` whose losses and parameters were numbers: nearly always the restored one."""
        if restoration.loaded.manifest.finite:
            return restoration.loaded.manifest.commit if restoration.candidate.root is None else None
        for candidate in candidates:
            with suppress_damage(candidate.key):
                if candidate.root is None and (manifest := read_manifest(self._log.store, candidate.key)).finite:
                    return manifest.commit
        return None

    def _settle(
        self, number: int, lineage: Lineage, restoration: Restoration | None, finite: Commit | None = None
    ) -> Opened:
        """Write the base, then let everybody begin: no commit may exist before the base does."""
        before, base, uri = Lineage(), None, None
        if restoration is not None:
            uri = restoration.uri
            if restoration.candidate.root is None:
                base = restoration.loaded.manifest.commit
                before = lineage.ending_at(base)
            else:
                before = Lineage(origin=uri)
        continued = before.continued_by(self._log.execution)
        self._log.write_base(continued, base=uri, at=self._clock())
        self._peers.announce(f"open/{number}", {"settled": True, "nonce": self._log.nonce})
        return Opened(restoration, continued, base, self._log.nonce, tuple(self._passed_over), finite)
