"""Scenario 5: the operator is killed at each stage of a job's life; the job ends as if it had not been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from .support.api import CONFIG_MAPS, PODS
from .support.figures import Figures
from .support.fixtures import Start
from .support.hands import Hands
from .support.jobs import ProbeJob, workload_files
from .support.observe import attempt_of
from .support.operators import Operators
from .support.run import START_S, Run, condition

SCENARIO = "5 operator killed"
NODES, STEPS = 2, 40
SLOW = 240
"""Steps of a job that is told to stop: it trains for longer than its operator is away, so that it has to be stopped."""
LATE_CODE = "op-late-code"
LONGEST_PAUSE_S = 5
"""More than a busy machine ever makes a step of 0.1 s take, less than any restart."""


@dataclass(frozen=True)
class Stage:
    """A moment in a job's life.

    Attributes:
        reach: returns when it has come.
        ends: how attempts end before the one that completes, as the ledger has it.
        then: what the user does once the operator has been killed.
        spec: what the job's spec has besides.
    """

    name: str
    reach: Callable[[Run], object]
    ends: tuple[str, ...] = ()
    then: Callable[[Run], object] = lambda run: run
    steps: int = STEPS
    spec: Mapping[str, Any] = field(default_factory=dict)


def first_pod(run: Run) -> object:
    return run.wait(lambda: run.observer.pod_versions, "its first pod", timeout_s=START_S)


def containers_run(run: Run) -> object:
    def look() -> bool | None:
        return any(version.object["status"].get("phase") == "Running" for version in run.observer.pod_versions) or None

    return run.wait(look, "a running pod", timeout_s=START_S)


def lose_a_pod(run: Run) -> None:
    run.wait_step(12)
    run.api.delete(PODS, run.namespace, f"{run.name}-1-1", grace_s=0)


def promise_to_end(run: Run) -> object:
    lose_a_pod(run)
    return wait_status(run, lambda status: bool(status.get("ending")), "status.ending")


def second_attempt(run: Run) -> object:
    lose_a_pod(run)
    return wait_status(run, lambda status: status.get("attempt") == 2, "attempt 2 in status")


def training_again(run: Run) -> object:
    lose_a_pod(run)
    return run.wait_step(1, attempt=2)


def suspending(run: Run) -> object:
    run.wait_step(12)
    run.patch({"suspend": True})
    return wait_status(run, lambda status: (status.get("ending") or {}).get("cause") == "Suspended", "the stop")


def resume_when_suspended(run: Run) -> None:
    run.wait_suspended()
    run.patch({"suspend": False})


def resuming(run: Run) -> object:
    run.wait_step(12)
    run.patch({"suspend": True})
    resume_when_suspended(run)
    return wait_status(run, lambda status: status.get("attempt") == 2, "attempt 2 in status")


def make_code(run: Run) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": LATE_CODE}, "data": workload_files()}
    run.api.apply(CONFIG_MAPS, run.namespace, body)


def wait_status(run: Run, wanted: Callable[[dict[str, Any]], bool], what: str) -> object:
    """Until a version of the job had a status like this."""

    def look() -> bool | None:
        return any(wanted(version.object.get("status", {})) for version in run.observer.job_versions) or None

    return run.wait(look, what, timeout_s=60)


STAGES = (
    Stage("created", lambda run: run),
    Stage("pods created", first_pod),
    Stage("pods running", containers_run),
    Stage("training", lambda run: run.wait_step(12)),
    Stage("ending", promise_to_end, ends=("PodDeleted",)),
    Stage("between attempts", second_attempt, ends=("PodDeleted",)),
    Stage("training again", training_again, ends=("PodDeleted",)),
    Stage("suspending", suspending, ends=("Suspended",), then=resume_when_suspended, steps=SLOW),
    Stage("resuming", resuming, ends=("Suspended",), steps=SLOW),
    Stage(
        "blocked",
        lambda run: run.wait_condition("Blocked"),
        then=make_code,
        spec={"code": {"configMap": {"name": LATE_CODE}}},
    ),
    Stage("finishing", lambda run: run.wait_step(STEPS)),
)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name.replace(" ", "-"))
def test_the_job_ends_as_if_the_operator_had_lived(
    stage: Stage, start: Start, hands: Hands, operators: Operators, figures: Figures
) -> None:
    operators.renew()
    with operators.in_sight(hands) as triggers:
        name = f"op-{stage.name.replace(' ', '-')}"
        samples = 4 * NODES * stage.steps // 2  # half of the steps in each of two epochs
        run = start(ProbeJob(name=name, nodes=NODES, samples=samples, step_seconds=0.1, spec=stage.spec))
        stage.reach(run)
        for trigger in triggers:
            trigger.pull()
    stage.then(run)
    status = run.wait_end()["status"]

    causes = [*stage.ends, "Completed"]
    assert_end_state(run, status, causes)
    assert_nothing_twice(run, list(range(1, len(causes) + 1)))
    if "Suspended" in causes:
        assert [step.step for step in run.observer.steps] == list(range(1, run.wanted_steps + 1)), "each step once"
    pause = longest_pause(run)
    figures.note(SCENARIO, f"killed while {stage.name}: longest pause between two steps of an attempt", pause, "s")
    assert pause <= LONGEST_PAUSE_S


def assert_end_state(run: Run, status: dict[str, object], causes: list[str]) -> None:
    ledger = status["ledger"]
    assert isinstance(ledger, list)
    assert [(entry["attempt"], entry["cause"], entry["free"]) for entry in ledger] == [
        (attempt, cause, True) for attempt, cause in enumerate(causes, start=1)
    ]
    assert status["attempt"] == len(causes)
    assert status["phase"] == "Complete"
    progress = status["progress"]
    assert isinstance(progress, dict)
    assert progress["step"] == run.wanted_steps
    assert not status.get("ending")
    for passing in ("Blocked", "Suspended", "Restarting"):
        assert not condition({"status": status}, passing)


def assert_nothing_twice(run: Run, attempts: list[int]) -> None:
    """Each pod of each attempt was made once, and each rank trained once in each."""
    pods = {
        (attempt_of(v.object), v.object["metadata"]["name"], v.object["metadata"]["uid"])
        for v in run.observer.pod_versions
    }
    made = Counter((attempt, name) for attempt, name, _ in pods)
    assert made == {(attempt, f"{run.name}-{attempt}-{node}"): 1 for attempt in attempts for node in range(NODES)}
    ranks = Counter((rank.attempt, rank.rank) for rank in run.observer.ranks)
    assert ranks == {(attempt, rank): 1 for attempt in attempts for rank in range(NODES)}
    for attempt in attempts:
        steps = [step.step for step in run.observer.steps if step.attempt == attempt]
        assert steps == list(range(steps[0], steps[-1] + 1))


def longest_pause(run: Run) -> float:
    pairs = pairwise(run.observer.steps)
    return max(after.at - before.at for before, after in pairs if before.attempt == after.attempt)
