"""Scenario 6: a worker process dies; the ledger names who, where and of what, not the peers that died of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import ProbeJob
from .support.records import record, terminated
from .support.run import Run

SCENARIO = "6 culprit"
RANK, NODE_RANK, STEP = 3, 1, 8


@dataclass(frozen=True)
class Death:
    """A way to die, and what the ledger has to say of it."""

    kind: str
    cause: str
    culprit: dict[str, Any]
    message: str
    limits: dict[str, str]


DEATHS = (
    Death("sigkill", "ProcessKilled", {"signal": "SIGKILL"}, "", {}),
    Death("raise", "ProcessFailed", {"reason": "ArithmeticError"}, "the probe was told to fail", {}),
    Death("exit", "ProcessFailed", {"exitCode": 42}, "", {}),
    Death("memory", "OutOfMemory", {}, "", {"memory": "1500Mi"}),
)


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.kind)
def test_the_ledger_names_the_first_to_die(death: Death, start: Start, figures: Figures) -> None:
    fault = {"kind": death.kind, "step": STEP, "rank": RANK, "attempts": [1]}
    spec = {"resources": {"limits": death.limits}} if death.limits else {}
    run = start(ProbeJob(name=f"dies-{death.kind}", nodes=2, processes=2, samples=320, faults=[fault], spec=spec))
    status = run.wait_end()["status"]

    entry = status["ledger"][0]
    culprit = entry["culprit"]
    victim = f"{run.name}-1-{NODE_RANK}"
    assert (entry["attempt"], entry["cause"], entry["free"]) == (1, death.cause, False)
    assert (culprit["rank"], culprit["nodeRank"], culprit["pod"]) == (RANK, NODE_RANK, victim)
    assert culprit["node"] == node_of(run, victim)
    assert culprit["step"] == STEP
    assert culprit.items() >= death.culprit.items()
    assert death.message in culprit.get("message", "")
    assert entry["lastStep"] >= STEP - 1

    assert status["restarts"] == {"charged": 1, "free": 0, "total": 1}
    assert [one["cause"] for one in status["ledger"]] == [death.cause, "Completed"]
    peer = f"{run.name}-1-0"
    assert terminated(run, peer)["exitCode"] == 69, "the peer says that it is not the culprit"
    assert record(run, peer)["culprit"]["rank"] == RANK, "one verdict on every node"
    figures.note(SCENARIO, f"{death.kind}: seconds lost", status["ledger"][0]["secondsLost"], "s")


def node_of(run: Run, pod: str) -> str:
    """The node that a pod ran on, as a watch saw it."""
    nodes = {v.object["spec"].get("nodeName") for v in run.observer.pod_versions if v.object["metadata"]["name"] == pod}
    (node,) = nodes - {None}
    return str(node)
