"""Scenario 14: the object store answers 503 or 403 in mid-run. Training goes on without it, for as long as it may."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from typing import Final

import pytest

from .support.api import ApiError
from .support.committed import Commits
from .support.figures import Figures
from .support.fixtures import Start
from .support.gate import Gate
from .support.jobs import ProbeJob, Site
from .support.run import Run, condition

SCENARIO = "14 storage away"
AWAY_S: Final = float(os.environ.get("STORAGE_AWAY_S", "30"))
"""Longer only shows the same for longer."""
STEP_S: Final = 0.2
TOLERATED = 3
LONGEST_GAP_S = 10


def saves_often(name: str, gate: Gate, *, seconds: float) -> ProbeJob:
    """A job that trains for so long and takes a checkpoint every second."""
    spec = {"checkpoint": {"s3": {"endpoint": gate.endpoint}}}
    samples = 4 * int(seconds / STEP_S)
    return ProbeJob(name=name, samples=samples, epochs=1, step_seconds=STEP_S, every_steps=5, spec=spec)


def test_training_goes_on_while_the_store_does_not_answer(
    start: Start, gate: Gate, commits: Commits, figures: Figures
) -> None:
    job = saves_often("away", gate, seconds=AWAY_S + 12)
    run = start(job)
    run.wait_step(12)
    gate.refuse(503, "SlowDown")
    away_from = time.time()
    time.sleep(AWAY_S)
    asks_for_two_nodes_in_vain(run)
    gate.open()
    away_to = time.time()
    status = run.wait_end(timeout_s=120)["status"]

    assert status["attempt"] == 1
    assert status["restarts"] == {"charged": 0, "free": 0, "total": 0}
    assert [entry["cause"] for entry in status["ledger"]] == ["Completed"]
    trained = sum(away_from <= step.at < away_to for step in run.observer.steps)
    gap = longest_gap_s(run)
    figures.note(SCENARIO, f"steps in {away_to - away_from:.0f} s without a store", float(trained), "steps")
    figures.note(SCENARIO, "longest time from step to step", gap, "s", asked=LONGEST_GAP_S)
    skipped = status["progress"]["skippedCheckpoints"]
    figures.note(SCENARIO, "checkpoints skipped", float(skipped["total"]))
    assert (skipped["total"] > 0, skipped.get("inARow", 0)) == (True, 0)
    told = run.wait_told("CheckpointSkipped", "CheckpointsResumed", timeout_s=30)
    assert "SlowDown" in told["CheckpointSkipped"]
    newest = commits.newest(run)
    assert sorted(newest.losses) == list(range(1, job.steps + 1)), "every step once"
    assert gap <= LONGEST_GAP_S


def asks_for_two_nodes_in_vain(run: Run) -> None:
    """What cannot go on is refused as soon as it is written; the attempt goes on."""
    run.wait(lambda: run.status().get("world", {}).get("fixed") or None, "the number of ranks is fixed", timeout_s=30)
    before = run.job()["metadata"]["generation"]
    with pytest.raises(ApiError) as refused:
        run.patch({"nodes": 2})
    assert refused.value.status == 422
    assert "nodes" in str(refused.value)
    assert run.job()["metadata"]["generation"] == before


def longest_gap_s(run: Run) -> float:
    return max(later.at - sooner.at for sooner, later in pairwise(run.observer.steps))


def test_a_store_that_refuses_in_mid_run_is_borne_for_three_saves(
    start: Start, gate: Gate, site: Site, figures: Figures
) -> None:
    run = start(saves_often("refused", gate, seconds=120))
    step = run.wait_step(12).step
    gate.refuse(403, "AccessDenied")
    failed = run.wait_end("Failed", timeout_s=60)
    found = condition(failed, "Failed")
    assert found is not None
    assert found["reason"] == "StorageRefused"
    assert site.credentials in found["message"], "the Secret is named"
    assert f"{TOLERATED + 1} checkpoints in a row were refused" in found["message"]
    assert failed["status"]["attempt"] == 1
    assert failed["status"]["restarts"]["charged"] == 0
    trained = run.observer.steps[-1].step - step
    figures.note(SCENARIO, "steps trained after the first refusal", float(trained), "steps")
    assert trained >= TOLERATED * 5
    log = "\n".join(run.observer.log(f"{run.name}-1-0"))
    assert all(f"({count} of {TOLERATED} refusals in a row that are tolerated)" in log for count in (1, 2, 3))
