"""Scenario 7: suspend takes a checkpoint first, resume goes on from that very step."""

from __future__ import annotations

import time

from .support.committed import Commits
from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import ProbeJob
from .support.run import condition

SCENARIO = "7 suspend"
GRACE_S = 30


def test_suspend_loses_no_step(start: Start, commits: Commits, figures: Figures) -> None:
    run = start(ProbeJob(name="suspended", nodes=2, processes=1, samples=320, step_seconds=0.1, every_steps=1000))
    run.wait_step(12)
    run.patch({"suspend": True})
    asked_at = time.time()

    run.wait_no_pods(attempt=1, timeout_s=GRACE_S)
    figures.note(SCENARIO, "suspend → pods gone", time.time() - asked_at, "s", asked=GRACE_S)
    run.wait_suspended(timeout_s=10)
    status = run.status()
    stopped_at = max(step.step for step in run.observer.steps)
    assert status["checkpoint"]["step"] == stopped_at, "a checkpoint first, of the last step trained"
    assert commits.newest(run).step == stopped_at
    assert run.wanted_steps > stopped_at >= 12

    run.patch({"suspend": False})
    resumed = run.wait_step(1, attempt=2)
    assert resumed.step == stopped_at + 1
    job = run.wait_end()
    assert [step.step for step in run.observer.steps] == list(range(1, run.wanted_steps + 1)), "each step once"
    assert not condition(job, "Suspended")
    status = job["status"]
    assert [(entry["cause"], entry["free"]) for entry in status["ledger"]] == [("Suspended", True), ("Completed", True)]
    assert status["restarts"]["charged"] == 0
