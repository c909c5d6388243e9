"""Scenario 10: failures that differ end at the budget, the same one the second time; nothing is left or comes back."""

from __future__ import annotations

import time

from .support.api import CONFIG_MAPS, JOBS, NETWORK_POLICIES, PODS, SERVICES, Api
from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import ProbeJob
from .support.observe import LABEL_JOB, attempt_of
from .support.run import Run, condition

SCENARIO = "10 budget"
BUDGET = 2
CHILDREN = (PODS, CONFIG_MAPS, SERVICES, NETWORK_POLICIES)
QUIET_S = 10
"""How long nothing may come back; the operator answers a deletion within a second."""


def test_failures_that_differ_end_at_the_budget(start: Start, api: Api, figures: Figures) -> None:
    faults = [{"kind": "raise", "step": 4 + n, "rank": 0, "attempts": [n + 1]} for n in range(BUDGET + 1)]
    run = start(ProbeJob(name="hopeless", faults=faults, spec={"restarts": {"maxRestarts": BUDGET}}))
    status = run.wait_end("Failed", timeout_s=240)["status"]

    attempts = {attempt_of(version.object) for version in run.observer.pod_versions}
    assert attempts == set(range(1, BUDGET + 2))
    assert [entry["cause"] for entry in status["ledger"]] == ["ProcessFailed"] * (BUDGET + 1)
    assert all(not entry["free"] for entry in status["ledger"])
    failed = condition({"status": status}, "Failed")
    assert failed is not None
    assert failed["reason"] == "RestartsExhausted"
    assert "the probe was told to fail" in failed["message"]
    figures.note(SCENARIO, f"attempts with a budget of {BUDGET}", float(len(attempts)), asked=BUDGET + 1)
    assert_nothing_comes_back(run, api)


def test_the_same_failure_ends_the_job_the_second_time(start: Start, figures: Figures) -> None:
    fault = {"kind": "raise", "step": 4, "rank": 0}
    run = start(ProbeJob(name="the-same", faults=[fault], spec={"restarts": {"maxRestarts": BUDGET}}))
    status = run.wait_end("Failed", timeout_s=240)["status"]

    failed = condition({"status": status}, "Failed")
    assert failed is not None
    assert failed["reason"] == "SameFailure"
    assert "the same at step 4 in probe.py:" in failed["message"]
    figures.note(SCENARIO, "executions until the same failure ends the job", float(len(status["ledger"])), asked=2)
    assert len(status["ledger"]) == 2


def assert_nothing_comes_back(run: Run, api: Api) -> None:
    """Deletes all children of a finished job, wakes the operator up, and looks for children and changes of status."""
    before = run.status()
    labels = f"{LABEL_JOB}={run.name}"
    for resource in CHILDREN:
        for child in api.list(resource, run.namespace, labels=labels):
            api.delete(resource, run.namespace, child["metadata"]["name"], grace_s=0)
    api.patch(JOBS, run.namespace, run.name, {"metadata": {"annotations": {"e2e/touched": "yes"}}})
    started = time.monotonic()
    while time.monotonic() - started < QUIET_S:
        there = [child for resource in CHILDREN for child in api.list(resource, run.namespace, labels=labels)]
        assert [child["metadata"]["name"] for child in there] == []
        time.sleep(1)
    assert run.status() == before
