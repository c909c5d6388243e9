"""Scenario 3: a node loses power; training goes on elsewhere with the same bits. It comes back: nothing runs twice."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from .cluster.api import Cluster
from .support.api import NODES, Api
from .support.committed import Commits
from .support.figures import Figures
from .support.fixtures import Start
from .support.hands import Hands
from .support.jobs import six_ranks
from .support.observe import attempt_of
from .support.operators import Operators
from .support.run import Run, condition
from .support.waiting import eventually

SCENARIO = "3 power cut"
BOUND_S = 90
AGENT = "thunderhead_agent"


@pytest.mark.parametrize("whose", ["rank 0", "another", "the operator"], ids=lambda whose: whose.replace(" ", "-"))
def test_training_goes_on_elsewhere(
    whose: str,
    undisturbed: Run,
    start: Start,
    api: Api,
    healed: Cluster,
    operators: Operators,
    hands: Hands,
    commits: Commits,
    figures: Figures,
) -> None:
    run = start(six_ranks(f"power-cut-{whose.replace(' ', '-')}"))
    run.wait_step(15)
    node = doomed_node(run, operators, whose)
    with_operator = ", the operator on it" if node in operators.nodes() else ""
    healed.power_cut(node)
    cut_at = time.time()

    resumed = run.wait_step(1, attempt=2, timeout_s=BOUND_S + 60)
    took = resumed.at - cut_at
    figures.note(SCENARIO, f"node of {whose} cut{with_operator} → first new step ended", took, "s", asked=BOUND_S)

    healed.power_on(node)
    eventually(lambda: is_ready(api, node), f"{node} is Ready again", timeout_s=60)
    status = run.wait_end()["status"]
    entry = status["ledger"][0]
    assert (entry["cause"], entry["free"], entry["culprit"]["node"]) == ("NodeLost", True, node)
    assert [one["cause"] for one in status["ledger"]] == ["NodeLost", "Completed"]
    assert status["restarts"] == {"charged": 0, "free": 1, "total": 1}
    assert_nothing_ran_twice(run, commits)
    hands.wait_ready()
    eventually(lambda: hands.count(node, AGENT) == 0, f"nothing of a job runs on {node}", timeout_s=60)
    assert commits.newest(run).differences(commits.newest(undisturbed)) == []
    assert took <= BOUND_S


def doomed_node(run: Run, operators: Operators, whose: str) -> str:
    """The node of rank 0, or another one of the job; either without the operator if that can be; or the operator's."""
    nodes = [str(run.pod(rank, attempt=1)["spec"]["nodeName"]) for rank in range(3)]
    with_operator = operators.nodes()
    if whose == "rank 0":
        return nodes[0]
    if whose == "the operator":
        return next(node for node in nodes if node in with_operator)
    return min(nodes[1:], key=lambda node: (node == nodes[0], node in with_operator))


def assert_nothing_ran_twice(run: Run, commits: Commits) -> None:
    """Every rank trained once in each attempt, and only these two attempts ever claimed the checkpoints."""
    announced = Counter((rank.attempt, rank.rank) for rank in run.observer.ranks)
    assert set(announced.values()) == {1}, announced
    assert [execution.attempt for execution in commits.executions(run)] == [1, 2]
    assert {attempt_of(pod) for pod in run.pods()} == {2}


def is_ready(api: Api, node: str) -> bool:
    return condition(api.get(NODES, None, node), "Ready") is not None
