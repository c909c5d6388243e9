"""Scenario 2: a worker pod is deleted in mid-epoch; the resumed run ends with the same bits."""

from __future__ import annotations

import time

import pytest

from .support.api import PODS, Api
from .support.committed import Commits
from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import six_ranks
from .support.observe import attempt_of
from .support.run import Run

SCENARIO = "2 pod deleted"


@pytest.mark.parametrize(
    ("how", "grace_s", "victim"), [("delete", None, 1), ("delete --force", 0, 2)], ids=["gracefully", "force"]
)
def test_a_deleted_pod_costs_one_free_attempt_and_no_bit(
    how: str,
    grace_s: int | None,
    victim: int,
    undisturbed: Run,
    start: Start,
    api: Api,
    commits: Commits,
    figures: Figures,
) -> None:
    run = start(six_ranks(f"deleted-{'soft' if grace_s is None else 'hard'}"))
    run.wait_step(15)
    pod = run.pod(victim, attempt=1)
    api.delete(PODS, run.namespace, pod["metadata"]["name"], grace_s=grace_s)
    deleted_at = time.time()

    resumed = run.wait_step(1, attempt=2)
    figures.note(SCENARIO, f"{how} → first new step ended", resumed.at - deleted_at, "s", asked=30)
    status = run.wait_end()["status"]

    assert status["attempt"] == 2
    assert status["restarts"] == {"charged": 0, "free": 1, "total": 1}
    entry, last = status["ledger"]
    assert (entry["attempt"], entry["cause"], entry["free"]) == (1, "PodDeleted", True)
    assert entry["culprit"]["pod"] == pod["metadata"]["name"]
    assert entry["culprit"]["node"] == pod["spec"]["nodeName"]
    assert last["cause"] == "Completed"
    assert 0 < entry["secondsLost"] <= 30
    assert status["lastRecovery"]["cause"] == "PodDeleted"
    assert status["lastRecovery"]["seconds"] == pytest.approx(entry["secondsLost"], abs=0.01)
    assert_attempts_never_overlap(run)

    lost = 15 - (resumed.step - 1)
    figures.note(SCENARIO, f"{how}: steps done again", max(0, last_step(run, attempt=1) - resumed.step + 1), "steps")
    assert lost <= 15 - 10, "training goes on from the newest commit, which is that of step 10 at least"
    assert commits.newest(run).differences(commits.newest(undisturbed)) == []


def assert_attempts_never_overlap(run: Run) -> None:
    """No pod of an attempt is left, or they have all ended, when the first of the next one is made."""
    alive: dict[str, int] = {}
    for version in run.observer.pod_versions:
        name, attempt = version.object["metadata"]["name"], attempt_of(version.object)
        if version.kind == "DELETED" or version.object["status"].get("phase") in ("Succeeded", "Failed"):
            alive.pop(name, None)
        else:
            alive[name] = attempt
        assert len(set(alive.values())) <= 1, f"attempts overlap: {alive}"


def last_step(run: Run, *, attempt: int) -> int:
    return max(step.step for step in run.observer.steps if step.attempt == attempt)
