"""Metrics: exposed in Prometheus' text, counted once."""

from __future__ import annotations

import pytest
from op_build import running_status, stored
from op_world import KEY
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from thunderhead_operator.cluster.errors import Conflict
from thunderhead_operator.control.metrics import Gauges, Metrics
from thunderhead_operator.control.queue import Key
from thunderhead_operator.control.reconcile import Memory

ENTRY = {"attempt": 1, "cause": "NodeLost", "free": True, "startedAt": "", "endedAt": ""}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """Every sample, as ``name{labels}``, through Prometheus' own parser."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_a_restart_and_its_recovery_are_counted_once(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    recovered = {"cause": "NodeLost", "detectedAt": "", "resumedAt": "x", "seconds": 20.0, "stepsLost": 7}
    for status in (
        running_status(),
        running_status(attempt=2, ledger=[ENTRY]),
        running_status(attempt=2, ledger=[ENTRY]),
        running_status(attempt=2, ledger=[ENTRY], lastRecovery=recovered),
        running_status(attempt=2, ledger=[ENTRY], lastRecovery=recovered),
    ):
        metrics.on_pass(KEY, Memory(job=stored(status)))
    found = samples(registry)
    assert found["thunderhead_operator_restarts_total{cause=NodeLost,charged=false}"] == 1
    assert found["thunderhead_operator_recovery_seconds_count{cause=NodeLost}"] == 1
    assert found["thunderhead_operator_recovery_seconds_sum{cause=NodeLost}"] == 20
    assert found["thunderhead_operator_steps_lost_total{cause=NodeLost}"] == 7


def test_what_another_process_has_counted_is_not_counted_again(registry: CollectorRegistry) -> None:
    Metrics(registry).on_pass(KEY, Memory(job=stored(running_status(attempt=2, ledger=[ENTRY]))))
    assert not any(name.startswith("thunderhead_operator_restarts_total") for name in samples(registry))


@pytest.mark.parametrize("seen_going", [True, False])
def test_another_job_of_the_name_is_counted_from_its_own_beginning(
    registry: CollectorRegistry, seen_going: bool
) -> None:
    metrics = Metrics(registry)
    old = stored(running_status(attempt=3, ledger=[{**ENTRY, "attempt": 2}]))
    metrics.on_pass(KEY, Memory(job=old))
    if seen_going:
        metrics.on_pass(KEY, Memory(job=old, gone=True))
    for status in (running_status(), running_status(attempt=2, ledger=[ENTRY])):
        job = stored(status)
        metrics.on_pass(KEY, Memory(job={**job, "metadata": {**job["metadata"], "uid": "another"}}))
    assert samples(registry)["thunderhead_operator_restarts_total{cause=NodeLost,charged=false}"] == 1


async def test_passes_by_outcome(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    errors: list[Exception | None] = [None, Conflict("changed"), KeyError("ours")]

    async def handle(key: Key) -> float | None:
        error = errors.pop(0)
        if error:
            raise error
        return 1.0

    timed = metrics.timed(handle)
    assert await timed(KEY) == 1.0
    with pytest.raises(Conflict):
        await timed(KEY)
    with pytest.raises(KeyError):
        await timed(KEY)
    counts = {
        n: v for n, v in samples(registry).items() if n.startswith("thunderhead_operator_reconcile_seconds_count")
    }
    assert {name.split("=")[1].rstrip("}"): v for name, v in counts.items()} == {"ok": 1, "conflict": 1, "error": 1}


def test_calls_by_verb_and_code(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    for code in (200, 200, 409, 0):
        metrics.on_call("PATCH", code)
    found = samples(registry)
    assert found["thunderhead_operator_api_calls_total{code=200,verb=PATCH}"] == 2
    assert found["thunderhead_operator_api_calls_total{code=0,verb=PATCH}"] == 1


def test_jobs_by_phase_and_the_figures_of_those_that_run(registry: CollectorRegistry) -> None:
    running = running_status(
        phase="Running",
        progress={"step": 12},
        goodput={"ratioPercent": 90, "time": {"counted": 9.0, "checkpointStall": 1.0}},
    )
    memories = {
        KEY: Memory(job=stored(running)),
        ("team", "done"): Memory(job=stored(running_status(phase="Complete", progress={"step": 99}))),
        ("team", "unread"): Memory(),
    }
    registry.register(Gauges(memories, {"queue_depth": ("Depth.", lambda: 3.0)}, lambda: {"Pod": 1.5}))
    found = samples(registry)
    assert found["thunderhead_operator_jobs{phase=Running}"] == 1
    assert found["thunderhead_operator_jobs{phase=Failed}"] == 0
    assert found["thunderhead_operator_queue_depth{}"] == 3
    assert found["thunderhead_operator_watch_event_age_seconds{kind=Pod}"] == 1.5
    assert found["thunderhead_job_step{job=digits,job_namespace=team}"] == 12
    assert found["thunderhead_job_goodput_ratio{job=digits,job_namespace=team}"] == 0.9
    assert found["thunderhead_job_time_seconds{job=digits,job_namespace=team,kind=checkpoint_stall}"] == 1.0
    assert sum(name.startswith("thunderhead_job_step") for name in found) == 1, "a finished job has no series"
