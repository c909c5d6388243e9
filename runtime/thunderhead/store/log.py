"""The log of one job: claims, bases and commits, written so that a crash or a lost reply at any point does no harm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final

from thunderhead.job.errors import StorageRefused, Superseded
from thunderhead.standing import logger_of
from thunderhead.store.documents import seal, unseal
from thunderhead.store.executions import (
    EXECUTIONS,
    STEPS,
    Commit,
    Execution,
    base_key,
    claim_key,
    committed_key,
    execution_of_key,
)
from thunderhead.store.lineage import Lineage, Listing, Segment, newer_than
from thunderhead.store.manifest import Manifest
from thunderhead.store.members import mapping, member
from thunderhead.store.objects import Corrupt, NotFound, ObjectStore, PreconditionFailed, StoreError, Unavailable

_CREATE_TRIES: Final = 3

logger = logger_of(__name__)


class Taken(RuntimeError):
    """The key holds another process's object."""


def create_once(store: ObjectStore, key: str, body: bytes) -> None:
    """Create an object that nobody overwrites, whatever happens to the reply.

    After a lost reply the effect is unknown, and after a retry that the store made inside, "exists already" may mean
    our own first try. Reading back tells: the body carries our nonce, so equal bytes are ours.

    Raises:
        Taken: the key holds something else.
        Unavailable: no try was answered; the write may still take effect.
    """
    for attempt in range(_CREATE_TRIES):
        try:
            store.put(key, body, if_none_match=True)
        except (PreconditionFailed, Unavailable) as error:
            try:
                if store.get(key) == body:
                    return
            except NotFound:
                if attempt + 1 < _CREATE_TRIES:
                    continue
                raise Unavailable(f"{store.uri(key)} could not be created in {_CREATE_TRIES} tries: {error}") from error
            raise Taken(f"{store.uri(key)} was written by another process") from error
        else:
            return


def list_claims(store: ObjectStore) -> frozenset[Execution]:
    """Executions that have begun."""
    return _list_executions(store)[0]


def _list_executions(store: ObjectStore) -> tuple[frozenset[Execution], frozenset[Execution], frozenset[Execution]]:
    """Executions that have begun, those that have named their base, and those that have committed."""
    found: dict[str, set[Execution]] = {"claim": set(), "base": set(), "committed": set()}
    for info in store.scan(EXECUTIONS):
        entry = execution_of_key(info.key)
        if entry:
            found[entry[1]].add(entry[0])
    return frozenset(found["claim"]), frozenset(found["base"]), frozenset(found["committed"])


def list_job(store: ObjectStore) -> Listing:
    """Claims and bases first, commits after: a commit that was acknowledged before this call is in the listing."""
    claims, bases, committed = _list_executions(store)
    commits = (Commit.of_key(info.key) for info in store.scan(STEPS))
    return Listing(
        claims=claims, bases=bases, commits=frozenset(commit for commit in commits if commit), committed=committed
    )


def read_manifest(store: ObjectStore, key: str) -> Manifest:
    """The manifest at ``key``.

    Raises:
        NotFound: there is none.
        Corrupt: damaged, or one that belongs elsewhere.
    """
    manifest = Manifest.from_bytes(store.get(key), store.uri(key))
    if not key.endswith(manifest.commit.key):
        raise Corrupt(
            f"{store.uri(key)} holds the manifest of step {manifest.commit.step}, execution {manifest.commit.execution}"
        )
    return manifest


def read_lineage(store: ObjectStore, listing: Listing, *, before: Execution | None = None) -> Lineage:
    """The lineage of the newest execution (older than ``before``) that tells it.

    Its base tells it, and so does each of its manifests. An execution that tells nothing (both damaged, or it died
    before naming a base) leaves the next older one to tell; its own commits, if any, stay candidates.
    """
    mute: list[Segment] = []
    for execution in listing.newest_first():
        if before is not None and execution >= before:
            continue
        for lineage in _told_by(store, listing, execution):
            return Lineage((*mute, *lineage.segments), lineage.origin)
        logger.warning(
            "execution %s tells no lineage: its base is damaged or missing; asking the one before", execution
        )
        if listing.commits_of(execution) or execution in listing.committed:
            mute.append(Segment(execution))
    return Lineage(tuple(mute))


def _told_by(store: ObjectStore, listing: Listing, execution: Execution) -> Iterator[Lineage]:
    if execution in listing.bases:
        with suppress_damage(store.uri(base_key(execution))):
            document = unseal(store.get(base_key(execution)), store.uri(base_key(execution)))
            if document.get("epoch") != str(execution):
                raise Corrupt(f"it is the base of {document.get('epoch')}")
            lineage = Lineage.from_json(mapping(member(document, "lineage"), "lineage"))
            if not lineage.segments or lineage.segments[0].execution != execution:
                raise Corrupt(f"its lineage does not begin with {execution}")
            yield lineage
    for commit in listing.commits_of(execution):
        with suppress_damage(store.uri(commit.key)):
            yield read_manifest(store, commit.key).lineage


class suppress_damage(suppress):
    """Log what cannot be read back and go on; every other error passes."""

    def __init__(self, subject: str) -> None:
        super().__init__(Corrupt, NotFound)
        self._subject = subject

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        suppressed = bool(super().__exit__(kind, error, trace))
        if suppressed:
            logger.warning("%s cannot be read back: %s", self._subject, error)
        return suppressed


class ExecutionLog:
    """What rank 0 of one execution writes.

    Args:
        store: rooted at the job.
        execution: this execution.
        nonce: drawn by this process; two processes of one execution differ in it.
    """

    def __init__(self, store: ObjectStore, execution: Execution, nonce: str) -> None:
        self.store = store
        self.execution = execution
        self.nonce = nonce
        self._claim = b""
        self._marked = False

    def claim(self, *, world_size: int, at: float) -> None:
        """Claim the execution. Everything listed afterwards holds all that older executions have acknowledged.

        Raises:
            Superseded: another process has claimed this execution, or a newer one exists.
            StorageRefused: the store ignores ``If-None-Match``.
        """
        key = claim_key(self.execution)
        body = self._claim = self._document(at, world_size=world_size)
        try:
            create_once(self.store, key, body)
        except Taken as error:
            # Perhaps our own earlier process, but nobody can prove that it is dead; only a new execution excludes it.
            raise Superseded(
                f"execution {self.execution} was claimed by another process ({error}); "
                "a restart needs a new attempt or round"
            ) from error
        self._check_conditional_writes(key, body)
        self.check_not_superseded()

    def check_not_superseded(self) -> None:
        """Look for newer claims.

        Raises:
            Superseded: there is one.
        """
        newer = newer_than(self.execution, list_claims(self.store))
        if newer is not None:
            raise Superseded(
                f"execution {self.execution} is superseded by {newer}, which has claimed {self.store.uri()}"
            )

    def probe(self) -> None:
        """Whether the store takes a write of ours: our claim once more, which exists and stays as it is.

        Raises:
            StoreError, StorageRefused: it does not.
        """
        with suppress(PreconditionFailed):
            self.store.put(claim_key(self.execution), self._claim, if_none_match=True)

    def write_base(self, lineage: Lineage, *, base: str | None, at: float) -> None:
        """Name what this execution starts from; ``lineage`` includes this execution.

        Raises:
            Superseded: another process has named a base for this execution.
        """
        body = self._document(at, base=base, lineage=lineage.to_json())
        self._create(base_key(self.execution), body)

    def commit(self, manifest: Manifest) -> None:
        """Put the manifest, which commits the checkpoint, and look for newer claims, which decides whether it counts.

        Raises:
            Superseded: a newer execution exists, and it may not have seen this commit. It must not be acknowledged.
        """
        assert manifest.commit.execution == self.execution
        self._create(manifest.commit.key, manifest.to_bytes())
        self._mark(manifest)
        self.check_not_superseded()

    def _mark(self, manifest: Manifest) -> None:
        """Leave word, once, beside the claim that there is something to restore.

        Manifests lie under another prefix: a rule that lets old objects expire, or a hand that cleans up, may take them
        and leave this, and then the job must not begin from zero. Without it everything else holds, so it may fail.
        """
        if not self._marked:
            with suppress(StoreError, StorageRefused):
                self.store.put(committed_key(self.execution), self._document(manifest.at, step=manifest.commit.step))
                self._marked = True

    def _create(self, key: str, body: bytes) -> None:
        try:
            create_once(self.store, key, body)
        except Taken as error:
            raise Superseded(f"execution {self.execution} is run by another process too: {error}") from error

    def _check_conditional_writes(self, key: str, body: bytes) -> None:
        """Write the same claim again, which a store that knows ``If-None-Match`` must refuse and any other survives."""
        try:
            self.store.put(key, body, if_none_match=True)
        except PreconditionFailed:
            return
        raise StorageRefused(
            f"{self.store.uri()}: the server accepted a write with If-None-Match: * over an existing object; "
            "job checkpoints need a server that supports conditional writes"
        )

    def _document(self, at: float, **members: object) -> bytes:
        return seal({"epoch": str(self.execution), "nonce": self.nonce, "at": at, **members})
