"""What a line of ``list`` says of a job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from thunderhead_api.treaty import Phase

if TYPE_CHECKING:
    from thunderhead_api.status import TrainingJobStatus
    from thunderhead_client.job import Job

HEADS: Final = ("name", "phase", "step", "progress", "eta", "restarts", "goodput", "age")
WIDE: Final = ("nodes", "attempt", "checkpoint", "last cause", "reason")
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
NOTHING: Final = "-"


def table_of(
    jobs: Sequence[Job], now: datetime, *, wide: bool, with_namespace: bool
) -> tuple[list[list[str]], list[str]]:
    """Rows and heads."""
    heads = [*(["namespace"] if with_namespace else []), *HEADS, *(WIDE if wide else ())]
    rows = [
        [*([job.namespace] if with_namespace else []), *_row(job, now), *(_wide(job.status) if wide else [])]
        for job in jobs
    ]
    return rows, heads


def _row(job: Job, now: datetime) -> list[str]:
    status = job.status
    progress = status.progress
    step = NOTHING if progress is None else str(progress.step)
    if progress is not None and progress.max_steps is not None:
        step = f"{progress.step}/{progress.max_steps}"
    return [
        job.name,
        phase_of(job),
        step,
        (progress.summary if progress else None) or NOTHING,
        eta_of(status, now),
        f"{status.restarts.total}",
        NOTHING if status.goodput is None else f"{status.goodput.ratio_percent}%",
        age((now - job.created_at).total_seconds()),
    ]


def _wide(status: TrainingJobStatus) -> list[str]:
    last = status.ledger[-1].cause.value if status.ledger else NOTHING
    checkpoint = NOTHING if status.checkpoint is None else str(status.checkpoint.step)
    return [status.nodes.summary, str(status.attempt), checkpoint, last, status.reason or NOTHING]


def phase_of(job: Job) -> str:
    """The phase, or that it is being deleted, or suspended though pods still stop."""
    if job.is_deleted:
        return "Deleting"
    if job.raw["spec"].get("suspend") and not job.is_suspended and not job.is_finished:
        return "Suspending"
    return job.phase


def eta_of(status: TrainingJobStatus, now: datetime) -> str:
    """Time to go at the pace of the newest steps, without validation and checkpoints; only while it trains."""
    progress = status.progress
    if status.phase is not Phase.RUNNING or progress is None or not progress.step_seconds or not progress.max_steps:
        return NOTHING
    since = (now - datetime.fromisoformat(progress.updated_at).astimezone(UTC)).total_seconds()
    left = (progress.max_steps - progress.step) * progress.step_seconds - max(0.0, since)
    return age(max(1.0, left)) if progress.step < progress.max_steps else NOTHING


def age(seconds: float) -> str:
    """As kubectl says it: the two largest units, one where that is many."""
    whole = max(0, int(seconds))
    for at, (unit, size) in enumerate(_UNITS):
        if whole >= size or unit == "s":
            count, rest = divmod(whole, size)
            smaller, smaller_size = _UNITS[at + 1] if at + 1 < len(_UNITS) else ("", 1)
            more = rest // smaller_size if smaller and count < 10 else 0
            return f"{count}{unit}" + (f"{more}{smaller}" if more else "")
    raise AssertionError("every number of seconds has a unit")
