"""The example of the first page, as a user applies it: real data on several nodes, and a pod lost half way."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from .support.api import PODS, SECRETS, Api
from .support.committed import Commits
from .support.figures import Figures
from .support.jobs import Site, overlaid
from .support.kubectl import Kubectl
from .support.run import Run
from .support.waiting import eventually

SCENARIO = "digits"
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "digits"
WANTED_ACCURACY = 0.97


def test_the_example_recovers_and_learns(
    operator: object, api: Api, site: Site, kubectl: Kubectl, commits: Commits, figures: Figures
) -> None:
    make_code_and_keys(kubectl, api, site)
    job = yaml.safe_load((EXAMPLE / "job.yaml").read_text())
    checkpoint = {"uri": f"s3://{site.bucket}/runs", "s3": {"endpoint": site.endpoint, "region": site.region}}
    # The nodes share this machine's processors, so the pods ask for less than they may use.
    mine = {"checkpoint": checkpoint, "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}}}
    manifest = {**job, "spec": overlaid(job["spec"], mine)}
    manifest["metadata"]["namespace"] = site.namespace
    run = Run(api, manifest)
    said = kubectl.run("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert said.status == 0, said.err
    run.uid = run.job()["metadata"]["uid"]
    with run.explained():
        lose_a_pod_half_way(run)
        status = run.wait_end(timeout_s=300)["status"]
        newest = commits.newest(run)

    assert [entry["cause"] for entry in status["ledger"]] == ["PodDeleted", "Completed"]
    assert newest.step == status["progress"]["step"] == status["progress"]["maxSteps"]
    accuracy = status["progress"]["metrics"]["val_acc"]
    figures.note(SCENARIO, "validation accuracy after a pod was lost", accuracy)
    figures.note(SCENARIO, "seconds to recover", status["lastRecovery"]["seconds"], "s")
    figures.note(SCENARIO, "steps lost", status["lastRecovery"]["stepsLost"])
    figures.note(SCENARIO, "goodput", status["goodput"]["ratioPercent"], "%")
    assert accuracy >= WANTED_ACCURACY


def make_code_and_keys(kubectl: Kubectl, api: Api, site: Site) -> None:
    """What README tells a user to do before `kubectl apply`."""
    file = f"--from-file={EXAMPLE / 'digits.py'}"
    assert kubectl.run("create", "configmap", "digits-code", file, "-n", site.namespace).status == 0
    keys = api.get(SECRETS, site.namespace, site.credentials)["data"]
    literals = [f"--from-literal={name}={base64.b64decode(value).decode()}" for name, value in keys.items()]
    assert kubectl.run("create", "secret", "generic", "digits-s3", *literals, "-n", site.namespace).status == 0


def lose_a_pod_half_way(run: Run) -> None:
    run.wait(lambda: run.status().get("phase") == "Running" or None, "phase Running", timeout_s=180)

    def is_half_way() -> bool:
        answer = run.agent_status(0, attempt=1)
        return bool(answer["maxSteps"] and answer["step"] >= answer["maxSteps"] / 2)

    eventually(is_half_way, "half of its steps", timeout_s=120)
    run.api.delete(PODS, run.namespace, f"{run.name}-1-1", grace_s=0)
