"""The failure rules: what becomes of a job after an execution has ended. One pure function for operator and agent."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from thunderhead_api.messages import Culprit
from thunderhead_api.spec import RestartRule, RuleAction
from thunderhead_api.treaty import FINAL_CAUSES, FREE_CAUSES, Cause

BEYOND_RULES: Final = FINAL_CAUSES | {
    Cause.COMPLETED,
    Cause.SUSPENDED,
    Cause.SPEC_CHANGED,
    Cause.RESTART_REQUESTED,
    Cause.SUPERSEDED,
}
"""Causes that no rule may name: another attempt cannot help, or they are no failures."""


@dataclass(frozen=True)
class Judgement:
    """What to do after an execution, and the index of the rule that said so (None: the default of the cause)."""

    action: RuleAction
    rule: int | None = None

    @property
    def is_final(self) -> bool:
        """No further attempt: the job is Failed."""
        return self.action is RuleAction.FAIL

    @property
    def is_free(self) -> bool:
        """Another attempt that leaves the restart budget as it is."""
        return self.action is RuleAction.RESTART_FREE


def judge(rules: Sequence[RestartRule], cause: Cause, culprit: Culprit | None = None) -> Judgement:
    """The first rule that matches decides, else the default of the cause.

    A rule matches when each field it gives matches: ``exitCodes`` the culprit's exit code (of a signal: 128 + its
    number, as a shell has it), ``reasons`` the cause or the culprit's reason or signal, ``message`` anywhere in the
    culprit's message. The budget is the caller's: a charged restart beyond it is a failure.
    """
    if cause not in BEYOND_RULES:
        for index, rule in enumerate(rules):
            if _matches(rule, cause, culprit or Culprit()):
                return Judgement(rule.action, index)
    return Judgement(default_action(cause))


def default_action(cause: Cause) -> RuleAction:
    """What follows on ``cause`` where no rule says otherwise."""
    if cause in FINAL_CAUSES:
        return RuleAction.FAIL
    return RuleAction.RESTART_FREE if cause in FREE_CAUSES else RuleAction.RESTART


def pattern_problem(pattern: str) -> str | None:
    """Why ``pattern`` is no regular expression of ours, or None if it is one."""
    try:
        _matcher(pattern)
    except SchemaError as error:
        return str(error).splitlines()[-1].strip()
    return None


def _matches(rule: RestartRule, cause: Cause, culprit: Culprit) -> bool:
    if rule.exit_codes and _exit_code(culprit) not in rule.exit_codes:
        return False
    if rule.reasons and not {cause.value, culprit.reason, culprit.signal} & set(rule.reasons):
        return False
    return rule.message is None or matches(rule.message, culprit.message or "")


def _exit_code(culprit: Culprit) -> int | None:
    if culprit.exit_code is not None or culprit.signal is None:
        return culprit.exit_code
    number = signal.Signals.__members__.get(culprit.signal)
    return None if number is None else 128 + number


def matches(pattern: str, text: str) -> bool:
    """Whether the regular expression occurs in ``text``.

    Pydantic's engine (RE2's syntax: no look-around, no back references) is linear in the text, so no pattern a user
    writes can hold up the operator; :mod:`re` would backtrack for ever on ``(a+)+$``.
    """
    try:
        _matcher(pattern).validate_python(text)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
