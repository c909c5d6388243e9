"""Changes of a job as they come, and waiting for one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from thunderhead_api.conditions import is_true
from thunderhead_api.job_exit import is_held
from thunderhead_api.treaty import ConditionType
from thunderhead_client.api import WATCH_S, Api
from thunderhead_client.errors import ClusterUnreachable, JobNotFound, TookTooLong
from thunderhead_client.job import Job
from thunderhead_client.resources import JOBS

AGAIN_S: Final = 1.0
"""After a watch that broke off."""
PATIENCE_S: Final = 120.0
"""How long an API server may be away before that is an error: it may be restarting."""


class Until(StrEnum):
    """What is waited for."""

    FINISHED = "finished"
    OVER = "over"  # finished, or stopped with a checkpoint, or held until its spec changes
    RUNNING = "running"  # all ranks train; or finished
    SUSPENDED = "suspended"  # or finished
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Change:
    """A job as it is now.

    Attributes:
        job: as it was seen; of one that is gone as it was seen last.
        is_gone: it was deleted.
    """

    job: Job
    is_gone: bool = False


def changes_of(
    api: Api,
    namespace: str,
    name: str,
    *,
    at_least_s: float = WATCH_S,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Change]:
    """The job as it is, then every change of it, through broken connections; ends once the job is gone.

    Args:
        api: of the cluster.
        namespace: of the job.
        name: of the job.
        at_least_s: how often the job is told though nothing changed.
        clock: monotonic seconds.
        pause: waits for so many seconds.

    Raises:
        JobNotFound: there is none to begin with.
        ClientError: it may not be read, or the API server stayed away for two minutes.
    """
    last: Job | None = None
    away_since: float | None = None
    of_this = f"metadata.name={name}"
    while True:
        try:
            found, version = api.list_with_version(JOBS, namespace, fields=of_this)
            away_since = None
            here = next((Job(obj) for obj in found if obj["metadata"]["name"] == name), None)
            if here is None or (last is not None and here.uid != last.uid):
                if last is None:
                    raise JobNotFound("TrainingJob", name, f"there is none in namespace {namespace!r}", status=404)
                yield Change(last, is_gone=True)
                return
            last = here
            yield Change(here)
            for kind, obj in api.changes(JOBS, namespace, version, fields=of_this, seconds=at_least_s):
                if kind == "ERROR":
                    break
                if kind == "BOOKMARK" or obj["metadata"].get("name") != name:
                    continue
                last = Job(obj)
                yield Change(last, is_gone=kind == "DELETED")
                if kind == "DELETED":
                    return
        except ClusterUnreachable:
            now = clock()
            away_since = now if away_since is None else away_since
            if now - away_since > PATIENCE_S:
                raise
            pause(AGAIN_S)


def has_come(job: Job, until: Until, *, is_gone: bool = False) -> bool:
    """Whether what is waited for is so, by a status that is about the spec as it is."""
    if until is Until.GONE or is_gone:
        return is_gone
    if job.is_finished:
        return True
    status = job.status
    if status.observed_generation < int(job.raw["metadata"].get("generation") or 0):
        return False
    if until is Until.RUNNING:
        return is_true(status.conditions, ConditionType.RUNNING)
    if until is Until.SUSPENDED:
        return job.is_suspended
    return until is Until.OVER and (job.is_suspended or is_held(status))


def wait_for(
    changes: Iterator[Change], until: Until, *, timeout_s: float | None, clock: Callable[[], float] = time.monotonic
) -> Job:
    """Follow changes until what is waited for is so.

    Raises:
        JobNotFound: the job was deleted meanwhile.
        TookTooLong: it did not come about in time; told by the first change after that.
    """
    began = clock()
    for change in changes:
        if has_come(change.job, until, is_gone=change.is_gone):
            if change.is_gone and until is not Until.GONE:
                rule = f"was deleted while it was waited for to be {until.value}"
                raise JobNotFound("TrainingJob", change.job.name, rule, status=404)
            return change.job
        if timeout_s is not None and clock() - began > timeout_s:
            rule = f"is {change.job.phase} and not {until.value} after {timeout_s:g} s"
            remedy = f"wait longer, or see kubectl describe trainingjob {change.job.name}"
            raise TookTooLong("TrainingJob", change.job.name, rule, remedy)
    raise AssertionError("changes end with the job")
