"""What an end costs: nothing, one of the budget, or the job."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import context, running_status

from thunderhead_api.conditions import Reason
from thunderhead_api.messages import Culprit
from thunderhead_api.status import LedgerEntry
from thunderhead_api.treaty import FINAL_CAUSES, FREE_CAUSES, Cause
from thunderhead_operator.plan.budget import Price, fruitless_tail, has_gained, price_of, restart_delay_s
from thunderhead_operator.plan.span import Span

NOWHERE, SOMEWHERE = Span(first_step=5, last_step=5), Span(first_step=5, last_step=9)
CHARGED = [c for c in Cause if c not in FREE_CAUSES | FINAL_CAUSES | {Cause.COMPLETED}]


def entry(cause: Cause, *, gained: bool = False, free: bool = True) -> LedgerEntry:
    return LedgerEntry(
        attempt=1, cause=cause, free=free, started_at="", ended_at="", first_step=5, last_step=9 if gained else 5
    )


def status(charged: int = 0, ledger: list[LedgerEntry] | None = None) -> dict[str, Any]:
    return running_status(
        restarts={"charged": charged, "free": 0, "total": charged},
        ledger=[e.model_dump(mode="json") for e in ledger or []],
    )


def price(
    cause: Cause, *, charged: int = 0, span: Span = SOMEWHERE, ledger: list[LedgerEntry] | None = None, **restarts: Any
) -> Price:
    spec = {"restarts": {"maxRestarts": 2} | restarts}
    return price_of(
        context(status(charged, ledger), spec=spec), cause, Culprit(exit_code=42, message="bad batch"), span
    )


@pytest.mark.parametrize("cause", sorted(FREE_CAUSES))
def test_free(cause: Cause) -> None:
    assert price(cause, charged=2) == Price(free=True)


@pytest.mark.parametrize("cause", CHARGED)
def test_charged_until_the_budget_is_used_up(cause: Cause) -> None:
    assert price(cause, charged=1) == Price(free=False)
    assert price(cause, charged=2) == Price(free=False, final=True, reason=Reason.RESTARTS_EXHAUSTED)


@pytest.mark.parametrize("cause", CHARGED)
def test_a_budget_that_cannot_be_read_is_not_exhausted(cause: Cause) -> None:
    unreadable = context(status(charged=2), spec={"nodes": 0})
    assert unreadable.job.spec is None
    assert price_of(unreadable, cause, None, NOWHERE) == Price(free=False)


@pytest.mark.parametrize("cause", sorted(FINAL_CAUSES))
def test_no_attempt_can_help(cause: Cause) -> None:
    assert price(cause) == Price(free=True, final=True, reason=cause)


@pytest.mark.parametrize(
    ("rule", "cause", "expected"),
    [
        ({"exitCodes": [42], "action": "Fail"}, Cause.PROCESS_FAILED, Price(False, True, Reason.FAILED_BY_RULE)),
        ({"exitCodes": [43], "action": "Fail"}, Cause.PROCESS_FAILED, Price(False)),
        ({"message": "bad .atch", "action": "RestartFree"}, Cause.PROCESS_FAILED, Price(True)),
        ({"reasons": ["Drained"], "action": "Restart"}, Cause.DRAINED, Price(False)),
        ({"reasons": ["Suspended"], "action": "Fail"}, Cause.SUSPENDED, Price(True)),
    ],
)
def test_rules_of_the_job_come_first(rule: dict[str, Any], cause: Cause, expected: Price) -> None:
    assert price(cause, rules=[rule]) == expected


@pytest.mark.parametrize("cause", [Cause.PREEMPTED, Cause.PROCESS_FAILED])
@pytest.mark.parametrize("before", [Cause.PREEMPTED, Cause.PROCESS_KILLED])
def test_ends_without_a_new_step_are_bounded_whatever_they_cost(cause: Cause, before: Cause) -> None:
    free = cause is Cause.PREEMPTED
    ledger = [entry(before, free=before is Cause.PREEMPTED)] * 8
    assert price(cause, span=NOWHERE, ledger=ledger, maxRestarts=99) == Price(free=free)
    ledger = [entry(before, free=before is Cause.PREEMPTED)] * 9
    assert price(cause, span=NOWHERE, ledger=ledger, maxRestarts=99) == Price(free, True, Reason.NO_PROGRESS)
    assert price(cause, span=SOMEWHERE, ledger=ledger, maxRestarts=99) == Price(free=free)


@pytest.mark.parametrize(
    ("charged", "ledger", "reason"),
    [
        (2, [entry(Cause.PROCESS_KILLED, free=False)] * 2, Reason.NO_PROGRESS),
        (2, [entry(Cause.PROCESS_KILLED, gained=True, free=False)] * 2, Reason.RESTARTS_EXHAUSTED),
        (0, [], Reason.RESTARTS_EXHAUSTED),
    ],
    ids=["never a new step", "some steps", "no budget at all"],
)
def test_a_budget_spent_without_a_new_step_has_a_reason_of_its_own(
    charged: int, ledger: list[LedgerEntry], reason: Reason
) -> None:
    found = price(Cause.PROCESS_KILLED, charged=charged, span=NOWHERE, ledger=ledger, maxRestarts=charged)
    assert found == Price(free=False, final=True, reason=reason)


@pytest.mark.parametrize(
    ("ledger", "count"),
    [
        ([], 0),
        ([entry(Cause.NODE_LOST)] * 3, 3),
        ([entry(Cause.NODE_LOST, gained=True), entry(Cause.NODE_LOST)], 1),
        ([entry(Cause.NODE_LOST, gained=True)] * 4, 3),
        ([entry(Cause.NODE_LOST), entry(Cause.SUSPENDED), entry(Cause.NODE_LOST)], 1),
        ([entry(Cause.HUNG, free=False)] * 2, 2),
    ],
)
def test_fruitless_in_a_row(ledger: list[LedgerEntry], count: int) -> None:
    assert fruitless_tail(ledger) == count


@pytest.mark.parametrize(
    ("earlier", "first", "last", "gained"),
    [
        ([], 0, 1, True),
        ([], 5, 5, False),
        ([], None, None, False),
        ([(0, 50)], 0, 50, False),
        ([(0, 50)], 0, 51, True),
        ([(0, 50)], 40, 45, True),
        ([(0, 50), (40, 45)], 40, 45, False),
    ],
    ids=["first step", "none", "unknown", "the same again", "further", "from a newer checkpoint", "and that again"],
)
def test_gain(earlier: list[tuple[int, int]], first: int | None, last: int | None, gained: bool) -> None:
    entries = [
        LedgerEntry(attempt=1, cause=Cause.PREEMPTED, free=True, started_at="", ended_at="", first_step=a, last_step=b)
        for a, b in earlier
    ]
    assert has_gained(entries, first, last) is gained


def test_the_first_restart_is_immediate_the_others_wait_longer_and_longer() -> None:
    waits = [restart_delay_s([entry(Cause.HUNG, free=False)] * n, 30.0) for n in (0, 1, 2, 3, 4, 7, 20)]
    assert waits == [0, 0, 1, 2, 4, 30, 30]
