"""Trials as processes and as objects of a cluster, with a ``thunderhead`` and a ``kubectl`` that do as told."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from thunderhead_cli.jobfile import JobFile, read_job_file
from thunderhead_cli.sweep.on_cluster import ClusterRunner, KubectlError
from thunderhead_cli.sweep.on_machine import LocalRunner
from thunderhead_cli.sweep.runner import Seen, Stand
from thunderhead_cli.sweep.trial_job import trial_job

from .sweep_world import JOB

RUN = """
import json, pathlib, signal, sys, time
words = sys.argv[1:]
runs = pathlib.Path(words[words.index("--runs") + 1])
job = pathlib.Path(words[words.index("-f") + 1])
name = job.read_text().split("name: ")[1].split()[0]
run = runs / name / "1"
resumed = run.exists()
run.mkdir(parents=True, exist_ok=True)
def stand(**status):
    (run / "draft").write_text(json.dumps({"status": status}))
    (run / "draft").replace(run / "job.json")
def stop(*_):
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
progress = {"epoch": 1, "step": 7, "metrics": {"val_loss": 0.5}, "updatedAt": "now"}
def condition(kind, **more):
    return {"type": kind, "status": "True", "reason": "x", "message": "m", "observedGeneration": 1,
            "lastTransitionTime": "now", **more}
MODE
"""
WAITS = "stand(progress=progress); print('ready', flush=True); time.sleep(0 if resumed else 60)\n"
ENDS = "stand(progress=progress, conditions=[condition('Complete')])"


def a_command(tmp_path: Path, mode: str) -> tuple[str, ...]:
    script = tmp_path / "run.py"
    script.write_text(RUN.replace("MODE", mode))
    return (sys.executable, str(script))


def a_local(tmp_path: Path, mode: str) -> tuple[LocalRunner, asyncio.Event]:
    (tmp_path / "job").mkdir(exist_ok=True)
    (tmp_path / "job/code.py").write_text("x = 1\n")
    changed = asyncio.Event()
    file = JobFile(tmp_path / "job/job.yaml", JOB, {"map": {"a.py": "y = 2\n"}})
    return LocalRunner(tmp_path / "sweep", file, changed.set, a_command(tmp_path, mode)), changed


async def until_it_says(log: Path, word: str) -> None:
    for _ in range(3000):  # another process's file: nothing to await
        if word in said_in(log):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(said_in(log))


def said_in(log: Path) -> str:
    return log.read_text()


async def ended(runner: LocalRunner, changed: asyncio.Event) -> Seen:
    await asyncio.wait_for(changed.wait(), 30)
    return (await runner.look([3]))[3]


@pytest.mark.parametrize(
    ("mode", "stand", "why"),
    [
        (ENDS, Stand.COMPLETE, ""),
        ("stand(conditions=[condition('Failed', message='boom')]); sys.exit(1)", Stand.FAILED, "x: boom"),
        ("print('spec.nodes: wrong'); sys.exit(78)", Stand.FAILED, "exit code 78: spec.nodes: wrong ("),
        ("sys.exit(75)", Stand.STOPPED, ""),
        ("sys.exit(130)", Stand.STOPPED, ""),
    ],
)
async def test_how_a_process_ended_says_how_its_trial_stands(tmp_path: Path, mode: str, stand: Stand, why: str) -> None:
    runner, changed = a_local(tmp_path, mode)
    await runner.start(3, trial_job(JOB, "lr", 3, {}))
    seen = await ended(runner, changed)
    assert seen.stand is stand
    assert seen.why.startswith(why)


async def test_a_trial_can_be_run_again_by_hand(tmp_path: Path) -> None:
    runner, changed = a_local(tmp_path, ENDS)
    await runner.start(3, trial_job(JOB, "lr", 3, {"module.init_args.lr": 0.5}))
    await ended(runner, changed)
    place = tmp_path / "sweep/trials/3"
    written = read_job_file(place / "job.yaml")
    assert written.job == trial_job(JOB, "lr", 3, {"module.init_args.lr": 0.5})
    assert written.config_maps == {"map": {"a.py": "y = 2\n"}}
    assert (place / "code.py").read_text() == "x = 1\n"
    assert runner.where(3).endswith("sweep/trials/3/job.yaml")


async def test_a_stopped_trial_goes_on_and_an_ended_one_does_not_run_again(tmp_path: Path) -> None:
    runner, changed = a_local(tmp_path, WAITS + ENDS)
    await runner.start(3, trial_job(JOB, "lr", 3, {}))
    await until_it_says(tmp_path / "sweep/trials/3/log", "ready")
    seen = (await runner.look([3]))[3]
    assert (seen.stand, seen.epoch, seen.step, seen.metrics) == (Stand.RUNNING, 1, 7, {"val_loss": 0.5})
    await runner.stop(3)
    assert (await ended(runner, changed)).stand is Stand.STOPPED

    runner, changed = a_local(tmp_path, WAITS + ENDS)
    await runner.start(3, trial_job(JOB, "lr", 3, {}))
    assert (await ended(runner, changed)).stand is Stand.COMPLETE

    runner, _ = a_local(tmp_path, "raise SystemExit('never run')")
    await runner.start(3, trial_job(JOB, "lr", 3, {}))
    assert (await runner.look([3]))[3].stand is Stand.COMPLETE


async def test_killed_trials_are_gone(tmp_path: Path) -> None:
    runner, changed = a_local(tmp_path, WAITS)
    await runner.start(3, trial_job(JOB, "lr", 3, {}))
    await until_it_says(tmp_path / "sweep/trials/3/log", "ready")
    await asyncio.wait_for(runner.kill(), 30)
    assert (await ended(runner, changed)).stand is not Stand.RUNNING


KUBECTL = """
import json, pathlib, sys
state = pathlib.Path(STATE)
words = sys.argv[1:]
jobs = json.loads(state.read_text()) if state.exists() else {}
with open(STATE + ".log", "a") as log:
    log.write(" ".join(words) + "\\n")
if words[0] == "create":
    job = json.load(sys.stdin)
    jobs[job["metadata"]["name"]] = job
elif words[0] == "patch":
    jobs[words[2]]["spec"].update(json.loads(words[words.index("-p") + 1])["spec"])
elif words[0] == "get":
    assert words[1:4] == ["trainingjobs.thunderhead.dev", "-l", "thunderhead.dev/sweep=lr"], words
    print(json.dumps({"items": list(jobs.values())}))
state.write_text(json.dumps(jobs))
"""


def a_cluster(tmp_path: Path, script: str = KUBECTL) -> tuple[ClusterRunner, Path]:
    state = tmp_path / "state"
    (tmp_path / "kubectl.py").write_text(script.replace("STATE", repr(str(state))))
    return ClusterRunner("lr", "team", (sys.executable, str(tmp_path / "kubectl.py"))), state


async def test_trials_on_a_cluster_are_jobs_that_are_made_looked_at_and_suspended(tmp_path: Path) -> None:
    runner, state = a_cluster(tmp_path)
    await runner.start(3, trial_job(JOB, "lr", 3, {}))
    assert (await runner.look([3]))[3].stand is Stand.RUNNING
    await runner.stop(3)
    jobs: dict[str, Any] = json.loads(state.read_text())
    assert jobs["lr-3"]["spec"]["suspend"] is True
    condition = {"type": "Suspended", "status": "True", "reason": "r", "message": "m", "observedGeneration": 1}
    jobs["lr-3"]["status"] = {"conditions": [condition | {"lastTransitionTime": "now"}]}
    state.write_text(json.dumps(jobs))
    assert (await runner.look([3]))[3].stand is Stand.STOPPED

    await runner.start(3, trial_job(JOB, "lr", 3, {}))  # the next command
    assert json.loads(state.read_text())["lr-3"]["spec"]["suspend"] is False
    assert (await runner.look([3]))[3].stand is Stand.RUNNING
    state.write_text("{}")
    seen = (await runner.look([3]))[3]
    assert (seen.stand, seen.why) == (Stand.FAILED, "the TrainingJob lr-3 was deleted")
    assert all(line.endswith("-n team") for line in (tmp_path / "state.log").read_text().splitlines())
    assert runner.where(3) == "kubectl get trainingjob lr-3 -n team -o yaml"


async def test_a_look_asks_the_cluster_once_for_all_trials(tmp_path: Path) -> None:
    runner, _ = a_cluster(tmp_path)
    for number in range(3):
        await runner.start(number, trial_job(JOB, "lr", number, {}))
    log = tmp_path / "state.log"
    log.write_text("")
    seen = await runner.look([0, 1, 2])
    assert [one.stand for one in seen.values()] == [Stand.RUNNING] * 3
    assert len(log.read_text().splitlines()) == 1


async def test_what_kubectl_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    runner, _ = a_cluster(tmp_path, "import sys; sys.exit('error: You must be logged in to the server')")
    with pytest.raises(KubectlError, match="--on cluster: kubectl get failed: error: You must be logged in"):
        await runner.start(0, trial_job(JOB, "lr", 0, {}))
    runner.kubectl = ("no-such-kubectl",)
    with pytest.raises(KubectlError, match="needs kubectl, which is not on PATH; install it"):
        await runner.start(0, trial_job(JOB, "lr", 0, {}))
