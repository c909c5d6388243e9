"""Scenario 12: `helm uninstall` takes the operator away and nothing else; running jobs live until they are deleted."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .support.api import JOBS, LEASES, PODS, Api
from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import ProbeJob
from .support.kubectl import Kubectl
from .support.observe import LABEL_JOB
from .support.waiting import eventually

SCENARIO = "12 uninstall"


@pytest.fixture
def uninstalled(operator: Any) -> Any:
    """The operator, installed again when the test is over."""
    yield operator
    operator.install()


def test_uninstall_leaves_running_jobs_and_nothing_of_its_own(
    uninstalled: Any, start: Start, api: Api, kubectl: Kubectl, figures: Figures
) -> None:
    run = start(ProbeJob(name="survivor", nodes=2, samples=8 * 4000, step_seconds=0.1))
    run.wait_step(3)
    before = {pod["metadata"]["uid"] for pod in run.pods()}
    installed = [thing for thing in yaml.safe_load_all(uninstalled.manifest()) if thing]

    uninstalled.uninstall()
    removed = [thing for thing in installed if not is_kept(thing)]
    eventually(lambda: leftovers(kubectl, uninstalled.namespace, removed) == [], "the end of its objects", timeout_s=60)
    assert api.list(LEASES, uninstalled.namespace) == []
    figures.note(SCENARIO, "objects removed by helm uninstall", str(len(removed)), f"of {len(installed)}")
    assert kubectl.run("get", "trainingjobs", "-A").status == 0, "the definition stays, and with it every job"

    last = max(step.step for step in run.observer.steps)
    run.wait_step(last + 10)
    assert {pod["metadata"]["uid"] for pod in run.pods()} == before
    job = run.job()
    assert not job["metadata"].get("finalizers")

    api.delete(JOBS, run.namespace, run.name)
    labels = f"{LABEL_JOB}={run.name}"
    eventually(lambda: not api.list(PODS, run.namespace, labels=labels), "the end of its pods", timeout_s=90)
    assert api.find(JOBS, run.namespace, run.name) is None


def is_kept(thing: dict[str, Any]) -> bool:
    """Whether the chart asks helm to leave this object alone."""
    annotations = thing["metadata"].get("annotations") or {}
    return annotations.get("helm.sh/resource-policy") == "keep"


def leftovers(kubectl: Kubectl, namespace: str, things: list[dict[str, Any]]) -> list[str]:
    """Those of the objects that still exist."""
    text = yaml.safe_dump_all(things)
    return kubectl.run("get", "-n", namespace, "--ignore-not-found", "-o", "name", "-f", "-", stdin=text).out.split()
