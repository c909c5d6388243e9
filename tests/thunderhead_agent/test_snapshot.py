"""What is told of a pod: status, ranks, metrics and their bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thunderhead.job.board import Board, Phase, Word
from thunderhead_agent.exposition import exposition
from thunderhead_agent.reading import BoardWatch, Reading
from thunderhead_agent.record import termination_record
from thunderhead_agent.snapshot import Snapshot, bounded_metrics, percent, rfc3339, status_reply
from thunderhead_agent.wire import Verdict
from thunderhead_api.messages import FrozenJob, RankStatus, StatusReply
from thunderhead_api.treaty import STATUS_MAX_BYTES, STATUS_MAX_METRICS, STATUS_MAX_RANKS, Outcome

MakeSnapshot = Callable[..., Snapshot]
MakeReading = Callable[..., Reading]


def other(rank: int, *, age: float = 0.1, phase: str = "Train") -> RankStatus:
    return RankStatus(rank=rank, node_rank=rank // 2, phase=phase, step=150, age_seconds=age, step_seconds=0.1)


def test_node_0_speaks_for_every_rank(make_snapshot: MakeSnapshot) -> None:
    reply = status_reply(make_snapshot(others=[(0.5, [other(2, phase="Rendezvous"), other(3)])]))
    assert [rank.rank for rank in reply.ranks] == [0, 1, 2, 3]
    assert [rank.age_seconds for rank in reply.ranks] == [0.25, 0.25, 0.6, 0.6]
    assert (reply.world_size, reply.ranks_met, reply.missing_nodes) == (4, 3, [])
    assert (reply.phase, reply.epoch, reply.step, reply.first_step) == ("Train", 1, 150, 100)
    assert (reply.max_steps, reply.percent, reply.training_seconds) == (200, 75, 6.25)
    assert reply.checkpoint is not None
    assert reply.checkpoint.committed_at == "2027-01-15T07:59:50Z"


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ({}, None),
        ({"skipped": 2, "skipped_in_a_row": 1, "why_skipped": "503"}, {"total": 2, "inARow": 1, "why": "503"}),
        ({"skipped": 2, "skipped_in_a_row": 0, "why_skipped": ""}, {"total": 2, "inARow": 0}),
    ],
)
def test_skipped_checkpoints_are_told(
    make_snapshot: MakeSnapshot, make_reading: MakeReading, notes: dict[str, Any], told: Any
) -> None:
    reply = status_reply(make_snapshot(readings=[make_reading(notes=notes)])).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    assert reply.get("skippedCheckpoints") == told


@pytest.mark.parametrize(
    ("own", "elsewhere", "told"),
    [
        ((None, None), (), None),
        ((None, 7), (), 7),
        ((9, 7), (), 7),
        ((None, None), (None, 8), 8),
        ((9, None), (8, 11), 8),
    ],
)
def test_the_earliest_of_all_ranks_is_told_everywhere(
    make_snapshot: MakeSnapshot, make_reading: MakeReading, own: Any, elsewhere: Any, told: int | None
) -> None:
    """Each rank has batches of its own, and so losses of its own."""
    readings = [make_reading(r, notes={} if step is None else {"non_finite_step": step}) for r, step in enumerate(own)]
    ranks = [other(2 + r).model_copy(update={"non_finite_step": step}) for r, step in enumerate(elsewhere)]
    snapshot = make_snapshot(readings=readings, others=[(0.1, ranks)])
    assert status_reply(snapshot).non_finite_step == told
    assert [rank.non_finite_step for rank in status_reply(snapshot).ranks] == [*own, *elsewhere]
    assert termination_record(snapshot, Outcome.DONE, Verdict(outcome=Outcome.DONE)).non_finite_step == told
    line = f"thunderhead_first_non_finite_step {told}.0"
    assert (line in exposition(lambda: snapshot, 1)().decode()) is (told is not None)


def test_what_was_given_up_is_told(make_snapshot: MakeSnapshot, make_reading: MakeReading) -> None:
    given_up = [{"step": 40, "uri": "s3://b/steps/40/1-0.json", "why": "rank 1: bytes 0 to 9 do not match"}]
    reply = status_reply(make_snapshot(readings=[make_reading(notes={"passed_over": given_up})]))
    assert [one.model_dump() for one in reply.passed_over] == given_up
    assert status_reply(make_snapshot()).passed_over == []


def test_before_the_workers_start_it_names_who_is_missing(
    make_snapshot: MakeSnapshot, make_reading: MakeReading
) -> None:
    unborn = make_reading(phase=Phase.STARTING, step=0, first_step=-1, max_steps=-1, commit=None, first_step_at=None)
    reply = status_reply(make_snapshot(started=False, readings=[unborn], missing_nodes=[1], metrics={}))
    assert (reply.phase, reply.ranks_met, reply.ranks, reply.missing_nodes) == ("Starting", 0, [], [1])
    assert (reply.first_step, reply.max_steps, reply.percent, reply.checkpoint) == (None, None, None, None)


def test_stopping_is_a_phase_of_the_pod(make_snapshot: MakeSnapshot) -> None:
    assert status_reply(make_snapshot(stopping=True)).phase == "Stopping"


def test_the_largest_reply_fits_and_keeps_the_silent_ranks(
    make_snapshot: MakeSnapshot, make_job: Callable[..., FrozenJob]
) -> None:
    others = [other(rank, age=500.0 if rank == 7777 else 0.1, phase="P" * 60) for rank in range(2, 8000)]
    metrics = {f"{i:03}" + "m" * 500: math.inf for i in range(100)}
    snapshot = make_snapshot(
        job=make_job(nodes=4000), others=[(0.0, others)], metrics=metrics, missing_nodes=range(4000)
    )
    body = status_reply(snapshot).model_dump_json(by_alias=True).encode()
    reply = StatusReply.model_validate_json(body)
    assert len(body) <= STATUS_MAX_BYTES
    assert (len(reply.ranks), len(reply.metrics)) == (STATUS_MAX_RANKS, STATUS_MAX_METRICS)
    assert 7777 in [rank.rank for rank in reply.ranks]
    assert reply.ranks_met == 8000


def test_the_first_values_are_told_and_how_many_are_not(make_snapshot: MakeSnapshot, make_reading: MakeReading) -> None:
    """The order is the trainer's choice; alphabetically, train_loss would go first of all."""
    metrics = {f"z{index:02}": 1.0 for index in range(40)} | {"a": 2.0}
    reply = status_reply(make_snapshot(metrics=metrics, readings=[make_reading(notes={"left_out": 100})]))
    assert list(reply.metrics) == [f"z{index:02}" for index in range(32)]
    assert reply.metrics_left_out == 100 + 9
    assert status_reply(make_snapshot(metrics={"a": 1.0})).metrics_left_out == 0


def test_long_names_that_become_one_are_told_once() -> None:
    metrics = {"n" * 128 + end: value for end, value in (("a", 1.0), ("b", 2.0))} | {"m": 3.0}
    assert bounded_metrics(metrics, 2) == {"n" * 128: 1.0, "m": 3.0}


def test_numbers_that_json_lacks_are_spelled_out() -> None:
    metrics = {"b": math.inf, "a": math.nan, "c": -math.inf, "d": 1.5, "e": 3}
    told = bounded_metrics(metrics, 10)
    assert told == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 1.5, "e": 3.0}
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("step", "steps", "expected"),
    [(0, 10, 0), (199, 200, 99), (200, 200, 100), (300, 200, 100), (5, -1, None), (0, 0, None)],
)
def test_percent(step: int, steps: int, expected: int | None) -> None:
    assert percent(step, steps) == expected


def test_moments_are_rfc3339_in_utc() -> None:
    assert rfc3339(1_800_000_000.25) == "2027-01-15T08:00:00.250Z"


def test_a_watched_board_dates_its_first_step_by_the_beat(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board")
    watch = BoardWatch(3, board, born_ns=0)
    words = board.words
    words[Word.FIRST_STEP] = words[Word.STEP] = 100
    assert watch.read(monotonic_ns=10_000_000_000, unix_s=500.0).first_step_at is None
    words[Word.STEP], words[Word.BEAT_NS] = 101, 10_900_000_000
    reading = watch.read(monotonic_ns=11_000_000_000, unix_s=501.0)
    assert (reading.first_step_at, reading.steps) == (pytest.approx(500.9), 1)
    words[Word.STEP], words[Word.BEAT_NS] = 105, 12_000_000_000
    reading = watch.read(monotonic_ns=12_000_000_000, unix_s=502.0)
    assert (reading.first_step_at, reading.last_step_at) == (pytest.approx(500.9), 502.0)
    later = watch.read(monotonic_ns=15_000_000_000, unix_s=505.0)
    assert (later.last_step_at, later.age_s) == (502.0, 3.0)


def test_metrics_are_read_again_only_when_they_changed(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board")
    watch = BoardWatch(0, board, born_ns=0)
    assert watch.metrics() == {}
    board.publish_metrics({"loss": 0.5})
    first = watch.metrics()
    assert first == {"loss": 0.5}
    assert watch.metrics() is first
    board.publish_metrics({"loss": 0.25})
    assert watch.metrics() == {"loss": 0.25}


def test_a_phase_of_a_newer_worker_is_no_reason_to_fall_over(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board")
    board.words[Word.PHASE] = 99
    assert BoardWatch(0, board, born_ns=0).read(monotonic_ns=1, unix_s=1.0).phase is Phase.STARTING
