"""What was given up after a damaged checkpoint: in status, ledger, an event and the condition's message."""

from __future__ import annotations

from typing import Any

from op_build import at, context, observing, pod, record, reply, running_status, stored

from thunderhead_api.conditions import find_condition
from thunderhead_api.messages import PassedOverCheckpoint
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import ConditionType, Outcome
from thunderhead_operator.cluster.memory import merged
from thunderhead_operator.plan.actions import Notice, WriteStatus
from thunderhead_operator.plan.decide import decide
from thunderhead_operator.plan.given_up import given_up_of, sentence
from thunderhead_operator.plan.observed import Observed, Sample

DAMAGED = PassedOverCheckpoint(step=20, uri="s3://b/steps/20", why="chunk 3 of shard 0 has another checksum")
PODS = (pod(0), pod(1))


def pass_at(now: float, status: dict[str, Any], observed: Observed) -> tuple[TrainingJobStatus, list[Notice]]:
    """What one pass writes."""
    write, *notices = decide(stored(status), observed, at(now)).actions
    assert isinstance(write, WriteStatus)
    after = TrainingJobStatus.model_validate(merged(status, write.patch))
    return after, [notice for notice in notices if isinstance(notice, Notice)]


def test_it_is_told_once_and_stays_in_the_ledger() -> None:
    answer = reply(first_step=12, step=13, passed_over=[DAMAGED])
    status, notices = pass_at(1, running_status(), observing(pods=PODS, sample=Sample(answer, at(1))))
    assert status.given_up is not None
    assert (status.given_up.restored_step, status.given_up.steps) == (12, 8)
    assert status.given_up.checkpoints == [DAMAGED]
    running = find_condition(status.conditions, ConditionType.RUNNING)
    assert running is not None
    for said in (running.message, next(n.note for n in notices if n.reason == "CheckpointGivenUp")):
        assert "went on from step 12, 8 steps were given up" in said
        assert "checkpoint of step 20 (s3://b/steps/20): chunk 3 of shard 0 has another checksum" in said

    done = tuple(pod(n, record=record(n, Outcome.DONE, first_step=12, last_step=40)) for n in (0, 1))
    before = status.model_dump(mode="json", exclude_none=True)
    ended, notices = pass_at(20, before, observing(pods=done))
    assert ended.ledger[-1].given_up == status.given_up
    assert [n for n in notices if n.reason == "CheckpointGivenUp"] == []


def test_an_attempt_that_ended_before_anybody_asked_says_it_in_its_record() -> None:
    ended = tuple(
        pod(n, record=record(n, Outcome.DONE, first_step=12, last_step=40, passed_over=[DAMAGED])) for n in (0, 1)
    )
    status, notices = pass_at(5, running_status(), observing(pods=ended))
    assert status.ledger[-1].given_up is not None
    assert [n.note for n in notices if n.reason == "CheckpointGivenUp"] == [
        f"attempt 1 {sentence(status.ledger[-1].given_up)}"
    ]


def test_nothing_given_up_says_nothing() -> None:
    status, notices = pass_at(
        1, running_status(), observing(pods=PODS, sample=Sample(reply(first_step=12, step=13), at(1)))
    )
    assert status.given_up is None
    assert "given up" not in "".join([*(c.message for c in status.conditions), *(n.note for n in notices)])
    assert given_up_of(context(None, *PODS)) is None
