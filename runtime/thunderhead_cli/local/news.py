"""What changed between two statuses of a job, said to a person."""

from __future__ import annotations

from collections.abc import Callable

from thunderhead_api.conditions import find_condition, is_true
from thunderhead_api.status import Condition, Ending, LedgerEntry, TrainingJobStatus
from thunderhead_api.treaty import Cause, ConditionType
from thunderhead_operator.plan.given_up import sentence

# Complete and Failed are told by the table that follows.
_TOLD = {ConditionType.SUSPENDED: "stopped", ConditionType.BLOCKED: "blocked"}


def news(
    before: TrainingJobStatus, after: TrainingJobStatus, *, is_shown: Callable[[int], bool] = lambda _: False
) -> list[str]:
    """One sentence for everything a user wants to know that happened in between, oldest first.

    Args:
        before: what was told last.
        after: what is to be told.
        is_shown: whether the user has read what this rank wrote, and so its traceback.
    """
    told = [_entry(entry) for entry in after.ledger if _key(entry) not in {_key(old) for old in before.ledger}]
    told = [line for line in told if line]
    if after.ending is not None and before.ending is None and after.ending.cause is not Cause.COMPLETED:
        told.append(f"attempt {after.attempt} is being ended: {_why(after.ending)}")
    if after.attempt > before.attempt:
        told.append(f"attempt {after.attempt} starts")
    if after.given_up is not None and after.given_up != before.given_up:
        told.append(f"attempt {after.attempt} {sentence(after.given_up)}")
    recovery = after.last_recovery
    if recovery is not None and recovery.seconds is not None and recovery != before.last_recovery:
        lost = "" if recovery.steps_lost is None else f", {recovery.steps_lost} steps lost"
        told.append(f"training again {recovery.seconds:.1f} s after {recovery.cause}{lost}")
    told += _conditions(before.conditions, after.conditions)
    return told + _details(before, after, is_shown)


def _entry(entry: LedgerEntry) -> str:
    if entry.cause is Cause.COMPLETED:
        return ""
    budget = "free" if entry.free else "charged to the restart budget"
    at = "" if entry.last_step is None else f" at step {entry.last_step}"
    return f"attempt {entry.attempt} ended{at}: {_why(entry)}; {budget}{_last_words(entry)}"


def _last_words(entry: LedgerEntry) -> str:
    """The end of the log of an agent that left no record: nothing else says why."""
    said = (entry.culprit.message or "").strip() if entry.culprit and entry.cause is Cause.POD_FAILED else ""
    return f"; its log ends: {said.splitlines()[-1]}" if said else ""


def _why(end: LedgerEntry | Ending) -> str:
    culprit = end.culprit
    if culprit is None:
        return end.cause
    parts = [
        f"rank {culprit.rank}" if culprit.rank is not None else None,
        f"pod {culprit.pod}" if culprit.pod else None,
        culprit.signal or (f"exit code {culprit.exit_code}" if culprit.exit_code is not None else None),
        culprit.reason if culprit.reason != end.cause else None,
    ]
    said = ", ".join(part for part in parts if part)
    return f"{end.cause} ({said})" if said else end.cause


def _conditions(before: list[Condition], after: list[Condition]) -> list[str]:
    old = {condition.type: condition.status for condition in before}
    return [
        _condition(condition)
        for condition in after
        if condition.status == "True" and old.get(condition.type) != "True" and condition.type in _TOLD
    ]


def _details(before: TrainingJobStatus, after: TrainingJobStatus, is_shown: Callable[[int], bool]) -> list[str]:
    """Of a failure what is more than its headline, which the final table has: the traceback, unless it was read."""
    failed = find_condition(after.conditions, ConditionType.FAILED)
    if failed is None or failed.status != "True" or is_true(before.conditions, ConditionType.FAILED):
        return []
    culprit = after.ledger[-1].culprit if after.ledger else None
    read = culprit is not None and culprit.rank is not None and is_shown(culprit.rank)
    return [] if read or "\n" not in failed.message else [f"failed: {failed.reason}: {failed.message}"]


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
