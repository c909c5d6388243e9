"""What changed between two statuses of a job, said to a person."""

from __future__ import annotations

from thunderhead_api.messages import Culprit
from thunderhead_api.status import Condition, LedgerEntry, TrainingJobStatus
from thunderhead_api.treaty import Cause, ConditionType

_TOLD = {
    ConditionType.COMPLETE: "complete",
    ConditionType.FAILED: "failed",
    ConditionType.SUSPENDED: "stopped",
    ConditionType.BLOCKED: "blocked",
}


def news(before: TrainingJobStatus, after: TrainingJobStatus) -> list[str]:
    """One sentence for everything a user wants to know that happened in between, oldest first."""
    told = [_entry(entry) for entry in after.ledger if _key(entry) not in {_key(old) for old in before.ledger}]
    told = [line for line in told if line]
    if after.ending is not None and before.ending is None and after.ending.cause is not Cause.COMPLETED:
        told.append(f"attempt {after.attempt} is being ended: {after.ending.cause}{_culprit(after.ending.culprit)}")
    if after.attempt > before.attempt:
        told.append(f"attempt {after.attempt} starts")
    recovery = after.last_recovery
    if recovery is not None and recovery.seconds is not None and recovery != before.last_recovery:
        lost = "" if recovery.steps_lost is None else f", {recovery.steps_lost} steps lost"
        told.append(f"training again {recovery.seconds:.1f} s after {recovery.cause}{lost}")
    return told + _conditions(before.conditions, after.conditions)


def _entry(entry: LedgerEntry) -> str:
    if entry.cause is Cause.COMPLETED:
        return ""
    budget = "free" if entry.free else "charged to the restart budget"
    at = "" if entry.last_step is None else f" at step {entry.last_step}"
    return f"attempt {entry.attempt} ended{at}: {entry.cause}{_culprit(entry.culprit)}; {budget}"


def _culprit(culprit: Culprit | None) -> str:
    if culprit is None:
        return ""
    parts = [
        f"rank {culprit.rank}" if culprit.rank is not None else None,
        f"pod {culprit.pod}" if culprit.pod else None,
        culprit.signal or (f"exit code {culprit.exit_code}" if culprit.exit_code is not None else None),
        culprit.reason,
    ]
    said = ", ".join(part for part in parts if part)
    return f" ({said})" if said else ""


def _conditions(before: list[Condition], after: list[Condition]) -> list[str]:
    old = {condition.type: condition.status for condition in before}
    return [
        _condition(condition)
        for condition in after
        if condition.status == "True"
        and condition.type in set(_TOLD)
        and old.get(condition.type) != "True"
        and condition.type != ConditionType.COMPLETE
    ]


def _condition(condition: Condition) -> str:
    word = _TOLD[ConditionType(condition.type)]
    # On this machine it is the user's Ctrl-C that suspends, not a field of the job.
    why = (
        "no pod runs any more"
        if condition.type == ConditionType.SUSPENDED
        else f"{condition.reason}: {condition.message}"
    )
    return f"{word}: {why}"


def _key(entry: LedgerEntry) -> tuple[int, int]:
    return entry.attempt, entry.round
