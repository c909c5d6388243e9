"""When a failure is the same again: no budget is spent on what will not go away."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import context, running_status

from thunderhead_api.conditions import Reason
from thunderhead_api.messages import Culprit
from thunderhead_api.status import LedgerEntry
from thunderhead_api.treaty import Cause
from thunderhead_operator.plan.budget import price_of
from thunderhead_operator.plan.span import Span

HASH = running_status()["specHash"]
NAME_ERROR = Culprit(rank=0, reason="NameError", place="digits.py:41", step=4, exit_code=1, message="NameError: x")


def entry(culprit: Culprit = NAME_ERROR, cause: Cause = Cause.PROCESS_FAILED, **changes: Any) -> LedgerEntry:
    base = {"attempt": 1, "free": False, "started_at": "", "ended_at": "", "first_step": 0, "last_step": 4}
    return LedgerEntry.model_validate({"cause": cause, "culprit": culprit, "spec_hash": HASH, **base, **changes})


def other(**changes: Any) -> Culprit:
    return NAME_ERROR.model_copy(update=changes)


def reason(
    ledger: list[LedgerEntry], culprit: Culprit = NAME_ERROR, cause: Cause = Cause.PROCESS_FAILED, **more: Any
) -> str | None:
    status = running_status(ledger=[e.model_dump(mode="json") for e in ledger])
    spec = {"restarts": {"maxRestarts": 9, "rules": more.get("rules", [])}}
    return price_of(
        context(status, spec=spec), cause, culprit, Span(first_step=0, last_step=more.get("last", 4))
    ).reason


LOST = entry(Culprit(node_rank=1), Cause.NODE_LOST, free=True, last_step=3)
AGAIN: dict[str, list[LedgerEntry]] = {
    "twice": [entry()],
    "a lost node in between": [entry(), LOST],
    "another failure in between": [entry(), entry(other(place="data.py:7", step=2), last_step=2)],
    "from a newer checkpoint": [entry(first_step=0), LOST.model_copy(update={"first_step": 3})],
    "another rank was first": [entry(other(rank=3, pod="digits-1-1"))],
    "before the first step": [entry(other(step=0), last_step=None)],
}


@pytest.mark.parametrize("ledger", AGAIN.values(), ids=AGAIN)
def test_the_same_again_ends_the_job(ledger: list[LedgerEntry]) -> None:
    culprit = other(step=ledger[0].culprit.step if ledger[0].culprit else None)
    last = None if ledger[0].last_step is None else 4
    assert reason(ledger, culprit, last=last) == Reason.SAME_FAILURE


@pytest.mark.parametrize(
    ("ledger", "culprit", "cause"),
    [
        ([], NAME_ERROR, Cause.PROCESS_FAILED),
        ([entry()], other(reason="ValueError"), Cause.PROCESS_FAILED),
        ([entry()], other(place="digits.py:42"), Cause.PROCESS_FAILED),
        ([entry()], other(step=5), Cause.PROCESS_FAILED),
        ([entry(other(place=None))], other(place=None), Cause.PROCESS_FAILED),
        ([entry(), LOST.model_copy(update={"last_step": 9})], NAME_ERROR, Cause.PROCESS_FAILED),
        ([entry(), entry(Culprit(), Cause.SPEC_CHANGED, free=True)], NAME_ERROR, Cause.PROCESS_FAILED),
        ([entry(), entry(Culprit(), Cause.SUSPENDED, free=True)], NAME_ERROR, Cause.PROCESS_FAILED),
        ([entry(spec_hash="another")], NAME_ERROR, Cause.PROCESS_FAILED),
        ([entry(code_hash="another")], NAME_ERROR, Cause.PROCESS_FAILED),
        ([entry(cause=Cause.PROCESS_KILLED)], NAME_ERROR, Cause.PROCESS_KILLED),
        ([entry(cause=Cause.OUT_OF_MEMORY)], NAME_ERROR, Cause.OUT_OF_MEMORY),
    ],
    ids=[
        *("once", "another type", "another line", "another step", "no place", "new steps since", "changed since"),
        *("suspended since", "another spec", "other code", "a signal", "memory"),
    ],
)
def test_what_is_not_the_same(ledger: list[LedgerEntry], culprit: Culprit, cause: Cause) -> None:
    assert reason(ledger, culprit, cause) is None


@pytest.mark.parametrize("action", ["Restart", "RestartFree"])
def test_a_rule_may_say_otherwise(action: str) -> None:
    assert reason([entry()], rules=[{"reasons": ["NameError"], "action": action}]) is None
    assert reason([entry()], rules=[{"reasons": ["ValueError"], "action": action}]) == Reason.SAME_FAILURE
