"""``/metrics``: what Prometheus reads, judged by its own parser and its own linter."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from thunderhead_agent.exposition import exposition
from thunderhead_agent.reading import Reading
from thunderhead_agent.snapshot import Snapshot

MakeSnapshot = Callable[..., Snapshot]


def scrape(snapshot: Snapshot) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    body = exposition(lambda: snapshot, threads=2)().decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(body):
        assert family.documentation, f"{family.name} has no help"
        assert family.type != "unknown", f"{family.name} has no type"
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_what_node_0_tells(make_snapshot: MakeSnapshot) -> None:
    found = scrape(make_snapshot())
    rank_0 = (("rank", "0"),)
    expected: dict[str, Any] = {
        "thunderhead_steps_total": 50,
        "thunderhead_samples_total": 3200,
        "thunderhead_step_seconds": 0.125,
        "thunderhead_training_seconds_total": 6.25,
        "thunderhead_checkpoint_stall_seconds_total": 0.5,
        "thunderhead_last_step_timestamp_seconds": 1_799_999_999.0,
    }
    assert {name: found[name][rank_0] for name in expected} == expected
    assert found["thunderhead_rank_phase"][("phase", "Train"), ("rank", "1")] == 1
    single = {
        "thunderhead_global_step": 150,
        "thunderhead_epoch": 1,
        "thunderhead_max_steps": 200,
        "thunderhead_goodput_ratio": 0.9,
        "thunderhead_world_size": 4,
        "thunderhead_attempt": 2,
        "thunderhead_restarts_total": 1,
        "thunderhead_checkpoint_last_step": 140,
        "thunderhead_checkpoint_age_seconds": 10,
        "thunderhead_checkpoint_skipped_total": 0,
    }
    assert {name: found[name][()] for name in single} == single
    times = {dict(labels)["kind"]: value for labels, value in found["thunderhead_time_seconds_total"].items()}
    assert sum(times.values()) == 100
    assert times["validation"] == 83.75
    assert found["thunderhead_logged_value"] == {(("metric", "loss"),): 0.5}


def test_checkpoints_that_the_store_did_not_take_are_counted_also_before_the_first_commit(
    make_snapshot: MakeSnapshot, make_reading: Callable[..., Reading]
) -> None:
    for commit in ({}, {"commit": None}):
        found = scrape(make_snapshot(readings=[make_reading(notes={"skipped": 3, "skipped_in_a_row": 1}, **commit)]))
        assert found["thunderhead_checkpoint_skipped_total"] == {(): 3}


def test_the_first_step_that_was_no_number_is_a_metric_once_there_is_one(
    make_snapshot: MakeSnapshot, make_reading: Callable[..., Reading]
) -> None:
    assert "thunderhead_first_non_finite_step" not in scrape(make_snapshot())
    found = scrape(make_snapshot(readings=[make_reading(notes={"non_finite_step": 31})]))
    assert found["thunderhead_first_non_finite_step"] == {(): 31}


def test_other_nodes_leave_the_jobs_own_numbers_to_node_0(make_snapshot: MakeSnapshot) -> None:
    found = scrape(make_snapshot(node_rank=1))
    assert "thunderhead_steps_total" in found
    assert not {"thunderhead_global_step", "thunderhead_logged_value", "thunderhead_checkpoint_last_step"} & set(found)


def test_before_the_start_there_are_no_ranks(make_snapshot: MakeSnapshot) -> None:
    found = scrape(make_snapshot(started=False))
    assert "thunderhead_world_size" in found
    assert not any("rank" in name and name != "thunderhead_ranks_met" for name in found)


def test_logged_names_cannot_blow_up_the_cardinality(make_snapshot: MakeSnapshot) -> None:
    found = scrape(make_snapshot(metrics={f'm{i}"\n\\': float("nan") for i in range(1000)}))
    assert len(found["thunderhead_logged_value"]) == 32
    assert found["thunderhead_logged_values_left_out"] == {(): 968}


def test_prometheus_own_linter_has_no_complaint(make_snapshot: MakeSnapshot) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not on PATH: install the package prometheus"
    body = exposition(lambda: make_snapshot(), threads=2)()
    judged = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, b"")
