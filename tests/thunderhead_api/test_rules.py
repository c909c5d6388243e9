"""The failure rules: first match wins, every given field must match, defaults follow the cause."""

from __future__ import annotations

import pytest

from thunderhead_api.messages import Culprit
from thunderhead_api.rules import BEYOND_RULES, default_action, judge, matches, pattern_problem
from thunderhead_api.spec import RestartRule, RuleAction
from thunderhead_api.treaty import FINAL_CAUSES, FREE_CAUSES, Cause

FAIL, RESTART, FREE = RuleAction.FAIL, RuleAction.RESTART, RuleAction.RESTART_FREE


def rule(action: RuleAction = FAIL, **fields: object) -> RestartRule:
    return RestartRule.model_validate({"action": action, **fields})


@pytest.mark.parametrize("cause", Cause)
def test_default_by_cause(cause: Cause) -> None:
    expected = FAIL if cause in FINAL_CAUSES else FREE if cause in FREE_CAUSES else RESTART
    judgement = judge([], cause)
    assert (judgement.action, judgement.rule) == (expected, None)
    assert judgement.is_final == (expected is FAIL)
    assert judgement.is_free == (expected is FREE)


@pytest.mark.parametrize(
    ("rules", "cause", "culprit", "action", "index"),
    [
        ([rule(exitCodes=[42])], Cause.PROCESS_FAILED, Culprit(exit_code=42), FAIL, 0),
        ([rule(exitCodes=[42])], Cause.PROCESS_FAILED, Culprit(exit_code=41), RESTART, None),
        ([rule(exitCodes=[0])], Cause.PROCESS_FAILED, Culprit(), RESTART, None),
        ([rule(exitCodes=[137])], Cause.PROCESS_KILLED, Culprit(signal="SIGKILL"), FAIL, 0),
        ([rule(exitCodes=[137])], Cause.PROCESS_KILLED, Culprit(signal="SIGKILL", exit_code=1), RESTART, None),
        ([rule(exitCodes=[137])], Cause.PROCESS_KILLED, Culprit(signal="SIGUNHEARDOF"), RESTART, None),
        ([rule(reasons=["OutOfMemory"])], Cause.OUT_OF_MEMORY, Culprit(), FAIL, 0),
        ([rule(reasons=["ValueError"])], Cause.PROCESS_FAILED, Culprit(reason="ValueError"), FAIL, 0),
        ([rule(reasons=["SIGSEGV"])], Cause.PROCESS_KILLED, Culprit(signal="SIGSEGV"), FAIL, 0),
        ([rule(reasons=["Hung"])], Cause.PROCESS_FAILED, None, RESTART, None),
        ([rule(FREE, message="NCCL.*timeout")], Cause.PROCESS_FAILED, Culprit(message="x NCCL a timeout"), FREE, 0),
        ([rule(message="^$")], Cause.PROCESS_FAILED, Culprit(), FAIL, 0),
        ([rule(exitCodes=[1], message="lost")], Cause.PROCESS_FAILED, Culprit(exit_code=1), RESTART, None),
        ([rule(exitCodes=[1], message="lost")], Cause.PROCESS_FAILED, Culprit(exit_code=1, message="lost"), FAIL, 0),
        ([rule(FREE, exitCodes=[1]), rule(FAIL, exitCodes=[1])], Cause.PROCESS_FAILED, Culprit(exit_code=1), FREE, 0),
        ([rule(FREE, exitCodes=[2]), rule(FAIL, exitCodes=[1])], Cause.PROCESS_FAILED, Culprit(exit_code=1), FAIL, 1),
        ([rule(RESTART, reasons=["Drained"])], Cause.DRAINED, None, RESTART, 0),
        ([rule(RESTART, reasons=["StorageRefused"])], Cause.STORAGE_REFUSED, None, FAIL, None),
        ([rule(FAIL, message=".*")], Cause.SUSPENDED, None, FREE, None),
        ([rule(FREE, message=".*")], Cause.ACTIVE_DEADLINE, None, FAIL, None),
    ],
)  # fmt: skip
def test_rules(
    rules: list[RestartRule], cause: Cause, culprit: Culprit | None, action: RuleAction, index: int | None
) -> None:
    judgement = judge(rules, cause, culprit)
    assert (judgement.action, judgement.rule) == (action, index)


def test_no_rule_reaches_what_is_no_failure() -> None:
    everything = [rule(FREE, message=".*"), rule(FAIL, message=".*")]
    assert {cause for cause in Cause if judge(everything, cause).rule is None} == BEYOND_RULES
    assert {judge(everything, cause).action == default_action(cause) for cause in BEYOND_RULES} == {True}


def test_a_pattern_cannot_hold_up_the_operator() -> None:
    """Takes minutes and more with a backtracking engine, milliseconds with this one."""
    assert not matches("(a+)+$", "a" * 4000 + "b")


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "[z-a]", "a{2,1}"])
def test_a_broken_pattern_is_said(pattern: str) -> None:
    assert pattern_problem(pattern)


def test_a_pattern_is_searched_and_dollar_is_the_end() -> None:
    assert pattern_problem("b") is None
    assert matches("b", "abc")
    assert not matches("^a$", "a\n")
