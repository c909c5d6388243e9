"""What a user is told while a job runs."""

from __future__ import annotations

import pytest

from thunderhead_api.messages import Culprit
from thunderhead_api.status import Condition, Ending, LedgerEntry, Recovery, TrainingJobStatus
from thunderhead_api.treaty import Cause
from thunderhead_cli.local.news import news

T = "2026-01-01T00:00:00Z"
BEFORE = TrainingJobStatus(attempt=1)
CULPRIT = Culprit(rank=2, pod="digits-1-1", signal="SIGKILL")


def entry(cause: Cause, *, free: bool = False) -> LedgerEntry:
    return LedgerEntry(
        attempt=1, cause=cause, free=free, culprit=CULPRIT, started_at=T, ended_at=T, first_step=0, last_step=230
    )


def condition(type_: str, status: str = "True", message: str = "because") -> Condition:
    return Condition(
        type=type_, status=status, observed_generation=1, last_transition_time=T, reason="Why", message=message
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"attempt": 2}, ["attempt 2 starts"]),
        (
            {"ending": Ending(cause=Cause.PROCESS_KILLED, free=False, culprit=CULPRIT, at=T)},
            ["attempt 1 is being ended: ProcessKilled (rank 2, pod digits-1-1, SIGKILL)"],
        ),
        ({"ending": Ending(cause=Cause.COMPLETED, free=False, at=T)}, []),
        (
            {"ledger": [entry(Cause.PROCESS_KILLED)]},
            [
                "attempt 1 ended at step 230: ProcessKilled (rank 2, pod digits-1-1, SIGKILL); "
                "charged to the restart budget"
            ],
        ),
        ({"ledger": [entry(Cause.COMPLETED)]}, []),
        (
            {"last_recovery": Recovery(cause=Cause.POD_DELETED, detected_at=T, seconds=4.21, steps_lost=0)},
            ["training again 4.2 s after PodDeleted, 0 steps lost"],
        ),
        ({"last_recovery": Recovery(cause=Cause.POD_DELETED, detected_at=T)}, []),
        ({"conditions": [condition("Blocked")]}, ["blocked: Why: because"]),
        # The table at the end has it; of its traceback nobody else speaks.
        ({"conditions": [condition("Failed")]}, []),
        ({"conditions": [condition("Failed", message="boom\n  File x")]}, ["failed: Why: boom\n  File x"]),
        ({"conditions": [condition("Suspended")]}, ["stopped: no pod runs any more"]),
        ({"conditions": [condition("Running"), condition("Blocked", "False"), condition("Complete")]}, []),
    ],
)
def test_news(change: dict[str, object], said: list[str]) -> None:
    assert news(BEFORE, BEFORE.model_copy(update=change)) == said


@pytest.mark.parametrize(("shown", "told"), [(2, 0), (0, 1)])
def test_a_traceback_that_the_user_has_read_is_not_told_again(shown: int, told: int) -> None:
    after = BEFORE.model_copy(
        update={"ledger": [entry(Cause.PROCESS_FAILED)], "conditions": [condition("Failed", message="a\nb")]}
    )
    assert [line for line in news(BEFORE, after, is_shown=lambda rank: rank == shown) if "failed: " in line] == [
        "failed: Why: a\nb"
    ] * told


def test_a_reason_that_is_the_cause_is_not_told_twice() -> None:
    said = Culprit(rank=0, pod="digits-1-0", reason=Cause.INVALID_CONFIGURATION)
    ended = entry(Cause.INVALID_CONFIGURATION, free=True).model_copy(update={"culprit": said, "last_step": None})
    after = BEFORE.model_copy(update={"ledger": [ended]})
    assert news(BEFORE, after) == ["attempt 1 ended: InvalidConfiguration (rank 0, pod digits-1-0); free"]


def test_nothing_is_told_twice() -> None:
    after = BEFORE.model_copy(
        update={"ledger": [entry(Cause.HUNG)], "conditions": [condition("Blocked")], "attempt": 3}
    )
    assert news(after, after) == []
