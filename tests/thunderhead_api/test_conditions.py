"""Setting conditions: the time of the last transition, the order, the bounds."""

from __future__ import annotations

import pytest

from thunderhead_api.conditions import MESSAGE_MAX, Reason, find_condition, is_finished, is_true, set_condition
from thunderhead_api.status import Condition
from thunderhead_api.treaty import ConditionType

RUNNING, FAILED, COMPLETE = ConditionType.RUNNING, ConditionType.FAILED, ConditionType.COMPLETE


def put(
    conditions: list[Condition], type_: ConditionType, status: bool | None, now: str, message: str = "m"
) -> list[Condition]:
    return set_condition(
        conditions, type_, status, reason=Reason.TRAINING, message=message, generation=int(now), now=now
    )


@pytest.mark.parametrize(
    ("first", "second", "since"),
    [(True, True, "1"), (True, False, "2"), (False, True, "2"), (None, None, "1"), (None, False, "2")],
)
def test_time_moves_only_when_the_status_flips(first: bool | None, second: bool | None, since: str) -> None:
    changed = put(put([], RUNNING, first, "1", "before"), RUNNING, second, "2", "after")
    (condition,) = changed
    assert condition.last_transition_time == since
    assert (condition.message, condition.observed_generation) == ("after", 2)


def test_the_list_given_stays_as_it_was() -> None:
    before = put([], RUNNING, True, "1")
    kept = list(before)
    put(before, RUNNING, False, "2")
    assert before == kept


def test_order_does_not_depend_on_history() -> None:
    foreign = Condition(
        type="Zeta", status="True", observed_generation=1, last_transition_time="0", reason="r", message=""
    )
    one = put(put([foreign], RUNNING, True, "1"), COMPLETE, False, "1")
    other = put(put([foreign], COMPLETE, False, "1"), RUNNING, True, "1")
    assert one == other
    assert [condition.type for condition in one] == ["Complete", "Running", "Zeta"]


def test_unknown_is_neither() -> None:
    conditions = put([], RUNNING, None, "1")
    condition = find_condition(conditions, RUNNING)
    assert condition is not None
    assert condition.status == "Unknown"
    assert not is_true(conditions, RUNNING)
    assert find_condition(conditions, FAILED) is None


def test_a_long_message_is_cut_to_what_the_api_takes() -> None:
    (condition,) = put([], RUNNING, True, "1", "x" * (MESSAGE_MAX + 1))
    assert len(condition.message) == MESSAGE_MAX
    assert condition.message.endswith("…")


@pytest.mark.parametrize(
    ("type_", "status", "finished"),
    [(COMPLETE, True, True), (FAILED, True, True), (FAILED, False, False), (RUNNING, True, False)],
)
def test_finished(type_: ConditionType, status: bool, finished: bool) -> None:
    assert is_finished(put([], type_, status, "1")) is finished


def test_reasons_are_camel_case() -> None:
    assert all(reason.value[0].isupper() and reason.value.isalpha() for reason in Reason)
