"""The termination record: valid JSON of at most 4,096 bytes, whatever the culprit said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thunderhead_agent.record import encode_record, termination_record, write_record
from thunderhead_agent.snapshot import Snapshot
from thunderhead_agent.wire import Verdict
from thunderhead_api.messages import Culprit, TerminationRecord
from thunderhead_api.treaty import TERMINATION_MAX_BYTES, Outcome

MakeSnapshot = Callable[..., Snapshot]


def test_it_says_what_happened_and_how_far_the_run_came(make_snapshot: MakeSnapshot) -> None:
    culprit = Culprit(rank=1, node_rank=0, reason="ValueError", message="ValueError: no")
    record = termination_record(make_snapshot(), Outcome.FAILED, Verdict(outcome=Outcome.FAILED, culprit=culprit))
    read = TerminationRecord.model_validate_json(encode_record(record))
    assert read == record
    assert (read.uid, read.attempt, read.node_rank, read.outcome) == ("u-1", 2, 0, Outcome.FAILED)
    assert (read.first_step, read.last_step, read.training_seconds) == (100, 150, 6.25)
    assert read.checkpoint is not None
    assert read.checkpoint.step == 140


def test_steps_are_unknown_before_the_first(make_snapshot: MakeSnapshot, make_reading: Callable[..., object]) -> None:
    young = make_reading(first_step=-1, step=0, commit=None, first_step_at=None, training_s=0.0)
    record = termination_record(make_snapshot(readings=[young]), Outcome.STOPPED, Verdict(outcome=Outcome.STOPPED))
    assert (record.first_step, record.last_step, record.first_step_at, record.checkpoint) == (None, None, None, None)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    message=st.text(max_size=4096),
    names=st.lists(st.text(max_size=200), max_size=40),
    reason=st.text(min_size=1, max_size=253),
)
def test_it_never_exceeds_the_bound(make_snapshot: MakeSnapshot, message: str, names: list[str], reason: str) -> None:
    snapshot = make_snapshot(metrics={name: float("nan") for name in names})
    culprit = Culprit(rank=1, node_rank=0, pod="p" * 253, node="n" * 253, reason=reason, message=message)
    body = encode_record(termination_record(snapshot, Outcome.FAILED, Verdict(outcome=Outcome.FAILED, culprit=culprit)))
    assert len(body) <= TERMINATION_MAX_BYTES
    assert TerminationRecord.model_validate_json(body).culprit is not None


@pytest.mark.parametrize("filling", ["x", "\n", "\x00", "é", "🏖", '"'])
def test_a_long_message_keeps_its_beginning_and_its_end(make_snapshot: MakeSnapshot, filling: str) -> None:
    message = "ValueError: first line\n" + filling * 3900 + "\nlast line"
    verdict = Verdict(outcome=Outcome.FAILED, culprit=Culprit(rank=1, node_rank=0, message=message))
    record = TerminationRecord.model_validate_json(
        encode_record(termination_record(make_snapshot(), Outcome.FAILED, verdict))
    )
    assert record.culprit is not None
    assert record.culprit.message is not None
    assert record.culprit.message.startswith("ValueError: first line")
    assert record.culprit.message.endswith("last line")


def test_it_is_written_into_the_mounted_file(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.write_text("something longer that was there before")
    inode = path.stat().st_ino
    write_record(path, b"{}")
    assert (path.read_bytes(), path.stat().st_ino) == (b"{}", inode)


def test_what_was_given_up_is_told_unless_the_failure_needs_the_room(
    make_snapshot: MakeSnapshot, make_reading: Callable[..., object]
) -> None:
    given_up = {"step": 160, "uri": "s3://b/" + "u" * 400, "why": "w" * 300}
    snapshot = make_snapshot(readings=[make_reading(notes={"passed_over": [given_up, given_up]})])

    def told(message: str) -> TerminationRecord:
        verdict = Verdict(outcome=Outcome.FAILED, culprit=Culprit(rank=1, node_rank=0, message=message))
        body = encode_record(termination_record(snapshot, Outcome.FAILED, verdict))
        assert len(body) <= TERMINATION_MAX_BYTES
        return TerminationRecord.model_validate_json(body)

    assert [one.step for one in told("short").passed_over] == [160, 160]
    long = told("m" * 2900)
    assert (long.passed_over, long.culprit and long.culprit.message) == ([], "m" * 2900)
