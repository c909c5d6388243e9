"""Scenario 1: three nodes of two processes train together, from `kubectl apply` to a verified checkpoint."""

from __future__ import annotations

from datetime import datetime

from .support.api import JOBS, NETWORK_POLICIES, SERVICES, Api
from .support.committed import Commits
from .support.figures import Figures
from .support.kubectl import Kubectl
from .support.run import Run, condition

SCENARIO = "1 training"
RANKS = range(6)


def test_columns_tell_the_state_while_it_runs(baseline: Run, kubectl: Kubectl) -> None:
    baseline.wait(
        lambda: next((v for v in baseline.observer.job_versions if _step(v.object) > 0), None),
        "a step in status.progress",
        timeout_s=30,
    )
    row = kubectl("get", "trainingjobs", baseline.name, "-n", baseline.namespace)[0]
    status = baseline.status()
    assert {"NAME", "PHASE", "NODES", "STEP", "PROGRESS", "RESTARTS", "AGE"} <= row.keys()
    assert (row["NAME"], row["PHASE"], row["NODES"], row["RESTARTS"]) == (baseline.name, "Running", "3/3", "0")
    assert 0 < int(row["STEP"]) <= _step(baseline.job())
    assert int(row["PROGRESS"].rstrip("%")) == 100 * int(row["STEP"]) // baseline.wanted_steps
    assert condition(baseline.job(), "Running"), status
    assert kubectl("get", "tj", "-n", baseline.namespace), "the short name"


def test_every_rank_is_there_exactly_once(baseline: Run, figures: Figures) -> None:
    baseline.wait_end()
    announced = sorted((rank.rank, rank.world) for rank in baseline.observer.ranks)
    assert announced == [(rank, 6) for rank in RANKS], "every rank trains once, in a world of 6"
    assert len({rank.host for rank in baseline.observer.ranks}) == 3, "two ranks in each of three pods"
    metrics = baseline.status()["progress"]["metrics"]
    assert metrics["world_size"] == 6
    assert metrics["rank_sum"] == sum(RANKS)
    first = baseline.observer.steps[0]
    figures.note(SCENARIO, "create answered → first step ended, 6 ranks", first.at - baseline.created_at, "s")


def test_the_job_completes(baseline: Run) -> None:
    job = baseline.wait_end()
    status = job["status"]
    assert status["phase"] == "Complete"
    assert status["observedGeneration"] == job["metadata"]["generation"]
    assert status["attempt"] == 1
    assert status["restarts"] == {"charged": 0, "free": 0, "total": 0}
    assert not status.get("lastRecovery")
    assert [entry["cause"] for entry in status["ledger"]] == ["Completed"]
    assert status["progress"]["step"] == status["progress"]["maxSteps"] == baseline.wanted_steps
    assert status["progress"]["percent"] == 100
    assert 0 < status["goodput"]["ratioPercent"] <= 100
    assert datetime.fromisoformat(status["finishedAt"]) >= datetime.fromisoformat(status["startedAt"])
    assert [step.step for step in baseline.observer.steps] == list(range(1, baseline.wanted_steps + 1))


def test_the_committed_checkpoint_verifies(baseline: Run, commits: Commits, figures: Figures) -> None:
    status = baseline.wait_end()["status"]
    final = commits.newest(baseline)
    assert (final.step, final.world_size) == (baseline.wanted_steps, 6)
    assert status["checkpoint"]["step"] == final.step
    assert status["checkpoint"]["uri"] == final.uri
    assert sorted(final.losses) == list(range(1, baseline.wanted_steps + 1)), "the loss of every step"
    assert all(len(losses) == 6 for losses in final.losses.values()), "of every rank"
    assert commits.verify(baseline) == 3, "spec.checkpoint.keep is 3 by default; checksums of each hold"
    figures.note(SCENARIO, "size of the committed checkpoint", final.size / 2**20, "MiB")


def test_everything_is_owned_by_the_job(baseline: Run, api: Api) -> None:
    job = api.get(JOBS, baseline.namespace, baseline.name)
    for resource in (SERVICES, NETWORK_POLICIES):
        child = api.get(resource, baseline.namespace, baseline.name)
        owner = child["metadata"]["ownerReferences"]
        assert [(one["uid"], one["controller"]) for one in owner] == [(job["metadata"]["uid"], True)]
    assert not job["metadata"].get("finalizers")


def _step(job: dict[str, dict[str, dict[str, int]]]) -> int:
    return job.get("status", {}).get("progress", {}).get("step", 0)
