"""Scenario 16: a sweep of jobs, two at a time. Its command is killed and goes on; an early end and failures count."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .cluster.api import Cluster
from .support.api import JOBS, PODS, Api, Object
from .support.figures import Figures
from .support.jobs import ProbeJob, Site
from .support.observe import LABEL_JOB
from .support.run import condition
from .support.waiting import eventually

SCENARIO = "16 sweep"
NAME = "grid"
THUNDERHEAD = (sys.executable, "-c", "from thunderhead_cli.main import command_line; command_line('thunderhead')()")
ENDED = re.compile(r"trial \d+ (failed|is complete|is ended early)")
NEVER = 1_000_000
CHOICES = {"trainer.max_epochs": [2, 500], "module.init_args.faults.0.step": [3, NEVER]}
"""All four together: one completes, one is so long that the pruner ends it, two fail at their third step."""


@pytest.fixture
def sweep(operator: object, site: Site, api: Api, tmp_path: Path) -> Iterator[Path]:
    """The sweep's file; its jobs are gone afterwards."""
    job = ProbeJob(
        name="trial", faults=[{"kind": "raise", "step": NEVER, "rank": 0}], spec={"restarts": {"maxRestarts": 0}}
    )
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job.manifest(site)))
    file = tmp_path / "sweep.yaml"
    asked = {
        "name": NAME,
        "job": "job.yaml",
        "trials": 4,
        "parallel": 2,
        "objective": {"metric": "val_loss"},
        "parameters": {path: {"type": "categorical", "choices": values} for path, values in CHOICES.items()},
        "sampler": {"class_path": "GridSampler", "init_args": {"search_space": CHOICES, "seed": 1}},
        "pruner": {"class_path": "ThresholdPruner", "init_args": {"upper": 0.0, "n_warmup_steps": 4}},
    }
    file.write_text(yaml.safe_dump(asked))
    yield file
    names = [job["metadata"]["name"] for job in trials(api, site)]
    for name in names:
        api.delete(JOBS, site.namespace, name)
    selector = f"{LABEL_JOB} in ({','.join(names)})"
    eventually(lambda: not api.list(PODS, site.namespace, labels=selector), "the end of all pods", timeout_s=60)


def trials(api: Api, site: Site) -> list[Object]:
    return api.list(JOBS, site.namespace, labels=f"thunderhead.dev/sweep={NAME}")


def test_a_sweep_goes_on_after_its_command_was_killed(
    sweep: Path, cluster: Cluster, api: Api, site: Site, figures: Figures
) -> None:
    began = time.monotonic()
    with subprocess.Popen(**command(sweep, cluster)) as killed:  # type: ignore[call-overload]
        eventually(lambda: len(trials(api, site)) == 2, "two jobs", timeout_s=60)
        killed.kill()
    first = {job["metadata"]["name"]: job["metadata"]["uid"] for job in trials(api, site)}

    done = subprocess.run(**command(sweep, cluster), timeout=240, check=False)
    said = done.stdout
    assert done.returncode == 0, said
    figures.note(SCENARIO, "4 trials, 2 at a time, the command killed in between", time.monotonic() - began, "s")

    assert "(goes on after 2 trials)" in said
    assert [said.count(f"trial {number} goes on") for number in range(4)] == [1, 1, 0, 0], said
    for number in (2, 3):  # one begins for one that has ended
        assert len(ENDED.findall(said.partition(f"trial {number} starts")[0])) >= number - 1, said
    assert Counter(ENDED.findall(said)) == {"failed": 2, "is complete": 1, "is ended early": 1}, said
    assert said.count("the probe was told to fail") >= 2, said

    jobs = {job["metadata"]["name"]: job for job in trials(api, site)}
    assert set(jobs) == {f"{NAME}-{number}" for number in range(4)}
    assert {name: jobs[name]["metadata"]["uid"] for name in first} == first, "those of the killed command went on"
    stand = Counter(
        kind for job in jobs.values() for kind in ("Complete", "Failed", "Suspended") if condition(job, kind)
    )
    assert stand == {"Failed": 2, "Complete": 1, "Suspended": 1}
    assert (sweep.parent / "sweeps" / NAME / "history.png").is_file()


def command(file: Path, cluster: Cluster) -> dict[str, object]:
    """Arguments for `subprocess` that run it as a user does, who has kubectl on PATH."""
    path = f"{cluster.kubectl.parent}:{os.environ['PATH']}"
    return {
        "args": [*THUNDERHEAD, "sweep", "-f", str(file), "--on", "cluster"],
        "cwd": file.parent,
        "env": {**os.environ, "PATH": path, "KUBECONFIG": str(cluster.kubeconfig)},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
