"""What lies in a store, read in full and compared with its checksums; nothing is written, and no torch is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from thunderhead.store.by_uri import open_store
from thunderhead.store.executions import Commit
from thunderhead.store.log import list_job, read_lineage, read_manifest
from thunderhead.store.objects import Corrupt, NotFound, ObjectStore
from thunderhead.store.reading import job_roots, split_manifest_uri, verified_chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReport:
    """One commit that counts.

    Attributes:
        uri: of its manifest.
        step: optimizer steps done.
        execution: attempt and round that wrote it.
        verified: whether every byte matches its checksum.
        problem: why not.
        bytes: of all shards; ``None`` where the manifest is unreadable, as for what follows.
        shards: number of objects besides the manifest.
        world_size: ranks that saved it.
        at: Unix time of the commit, in seconds.
    """

    uri: str
    step: int
    execution: str
    verified: bool
    problem: str | None = None
    bytes: int | None = None
    shards: int | None = None
    world_size: int | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class JobReport:
    """The checkpoints of one job.

    Attributes:
        uri: the root of the job.
        commits: those that count, newest first.
        ignored: URIs of manifests that do not count: late ones of superseded executions.
    """

    uri: str
    commits: tuple[CommitReport, ...]
    ignored: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """At least one commit counts, and all that count verify."""
        return bool(self.commits) and all(commit.verified for commit in self.commits)


def verify(store: ObjectStore) -> JobReport:
    """Verify every commit that counts of the one job at the root of ``store``.

    Raises:
        Unavailable, StorageRefused: the store cannot be read, which says nothing about the checkpoints.
    """
    listing = list_job(store)
    counting = read_lineage(store, listing).counting(listing.commits)
    ignored = sorted(listing.commits - set(counting))
    return JobReport(
        store.uri(),
        tuple(_verify_commit(store, commit) for commit in counting),
        tuple(store.uri(commit.key) for commit in ignored),
    )


def verify_uri(uri: str, *, endpoint: str | None = None, region: str | None = None) -> list[JobReport]:
    """Verify every job whose checkpoints lie at or under ``uri``, which may also be a manifest's.

    Raises:
        InvalidConfiguration: ``uri`` is none that we can open.
        Unavailable, StorageRefused: the store cannot be read.
    """
    manifest = split_manifest_uri(uri)
    root = manifest[0] if manifest else uri.rstrip("/")
    jobs = job_roots(open_store(root, endpoint=endpoint, region=region))
    return [verify(open_store(f"{root}/{job}".rstrip("/"), endpoint=endpoint, region=region)) for job in jobs]


def _verify_commit(store: ObjectStore, commit: Commit) -> CommitReport:
    uri, execution = store.uri(commit.key), str(commit.execution)
    try:
        manifest = read_manifest(store, commit.key)
    except (Corrupt, NotFound) as error:
        return CommitReport(uri=uri, step=commit.step, execution=execution, verified=False, problem=str(error))
    problem = None
    try:
        for shard in manifest.shards:
            for _ in verified_chunks(store, shard):
                pass
    except (Corrupt, NotFound) as error:
        problem = str(error)
    return CommitReport(
        uri=uri,
        step=commit.step,
        execution=execution,
        verified=problem is None,
        problem=problem,
        bytes=manifest.size,
        shards=len(manifest.shards),
        world_size=manifest.world_size,
        at=manifest.at,
    )


def as_json(reports: Sequence[JobReport]) -> str:
    """The reports for programs."""
    jobs = [
        {**asdict(report), "verified": report.verified, "commits": [_commit_as_json(each) for each in report.commits]}
        for report in reports
    ]
    verified = bool(reports) and all(report.verified for report in reports)
    return json.dumps({"verified": verified, "jobs": jobs}, indent=2)


def _commit_as_json(commit: CommitReport) -> dict[str, Any]:
    """Members in their order; programs know the execution by the name that it has in the store."""
    return {"epoch" if name == "execution" else name: value for name, value in asdict(commit).items()}


def as_text(uri: str, reports: Sequence[JobReport]) -> str:
    """The reports for people."""
    if not reports:
        return f"no job checkpoints under {uri}"
    return "\n".join(line for report in reports for line in _lines(report))


def _lines(report: JobReport) -> list[str]:
    lines = [report.uri]
    for commit in report.commits:
        when = "-" if commit.at is None else datetime.fromtimestamp(commit.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        size = "-" if commit.bytes is None else f"{commit.bytes:,}"
        verdict = "verified" if commit.verified else f"DAMAGED: {commit.problem}"
        lines.append(f"  step {commit.step:>9}  execution {commit.execution}  {size:>15} bytes  {when}  {verdict}")
    if not report.commits:
        lines.append("  no commit counts")
    return [*lines, *(f"  ignored (superseded execution): {ignored}" for ignored in report.ignored)]
