"""Whole runs: the operator's decisions, real processes, pretended agents."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

from thunderhead_api.job_exit import exit_code
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import Cause
from thunderhead_cli.jobfile import JobFile
from thunderhead_cli.local.code import kept_code
from thunderhead_cli.local.command import assemble
from thunderhead_cli.local.faults import KillPod
from thunderhead_cli.local.local_job import localise
from thunderhead_cli.local.progress_line import ProgressLine
from thunderhead_cli.local.rundir import choose_run
from thunderhead_cli.local.session import Session
from thunderhead_cli.local.summary import outcome

AGENT = (sys.executable, str(Path(__file__).with_name("fake_agent.py")))


class Run:
    """One command: its session, what it printed, and the directory it works in."""

    def __init__(
        self,
        runs: Path,
        *,
        kills: list[KillPod] | None = None,
        nodes: int = 2,
        spec: dict[str, Any] | None = None,
        **init_args: Any,
    ) -> None:
        arguments = {"steps": 20, "seconds": 0.02} | init_args
        whole = {
            "module": {"class_path": "m.M", "init_args": arguments},
            "nodes": nodes,
            "checkpoint": {"uri": "s3://bucket/x"},
        }
        job = {
            "apiVersion": "thunderhead.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "one"},
            "spec": whole | (spec or {}),
        }
        self.directory = choose_run(runs, "one", fresh=False)
        local = localise(JobFile(runs / "job.yaml", job, {}), self.directory, checkpoint_uri=None)
        self.out = io.StringIO()
        line = ProgressLine(self.out, is_terminal=False, interval_s=0.0, clock=time.monotonic)
        self.session: Session = assemble(local, self.directory, kills or [], line, agent=AGENT)

    async def to_end(self) -> TrainingJobStatus:
        async with asyncio.timeout(100):
            return await self.session.run_to_end()

    async def until(self, text: str) -> None:
        async with asyncio.timeout(100):
            while text not in self.out.getvalue():  # noqa: ASYNC110 - another task prints it
                await asyncio.sleep(0.02)


async def test_job_runs_to_its_end(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=50)
    status = await run.to_end()
    assert exit_code(status) == 0
    assert [(entry.cause, entry.last_step) for entry in status.ledger] == [(Cause.COMPLETED, 50)]
    assert status.progress is not None
    assert status.progress.metrics == {"val_acc": 1.0}
    saved = json.loads(run.directory.job_file.read_text())
    assert saved["status"]["phase"] == "Complete"


async def test_killed_pod_costs_an_attempt_and_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, kills=[KillPod(1, percent=50)], hold=10)
    status = await run.to_end()
    assert exit_code(status) == 0
    assert [entry.cause for entry in status.ledger] == [Cause.POD_FAILED, Cause.COMPLETED], status.ledger
    first, last = status.ledger
    assert not first.free
    assert first.culprit is not None
    assert (first.culprit.pod, first.culprit.signal) == ("one-1-1", "SIGKILL")
    assert last.first_step is not None
    assert last.first_step == 10
    assert status.progress is not None
    assert status.progress.max_steps == 20, "only the agent knows it, so it was asked"
    assert status.last_recovery is not None
    assert status.last_recovery.seconds is not None
    assert "--kill-pod 1@50%: SIGKILL" in run.out.getvalue()


async def test_a_fault_that_never_struck_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path, kills=[KillPod(1, step=1000)])
    status = await run.to_end()
    assert [entry.cause for entry in status.ledger] == [Cause.COMPLETED]
    assert "--kill-pod 1@1000 never struck: the job was over before it was seen there" in run.out.getvalue()


async def test_stop_takes_a_checkpoint_and_the_next_command_goes_on(tmp_path: Path) -> None:
    stopped = Run(tmp_path, steps=2000)
    task = asyncio.create_task(stopped.to_end())
    await stopped.until("step 1")
    stopped.session.ask_to_stop()
    status = await task
    assert not stopped.session.killed
    assert exit_code(status) == 75
    assert [entry.cause for entry in status.ledger] == [Cause.SUSPENDED]
    assert stopped.session.cluster.pods() == []
    reached = status.ledger[0].last_step
    assert reached is not None

    (stopped.directory.path / "steps").write_text(str(1990))
    continued = Run(tmp_path, steps=2000)
    assert continued.directory == stopped.directory
    status = await continued.to_end()
    assert exit_code(status) == 0
    assert [(e.attempt, e.cause) for e in status.ledger] == [(1, Cause.SUSPENDED), (2, Cause.COMPLETED)]
    assert Run(tmp_path).directory != stopped.directory, "a finished run is left alone"


async def test_second_stop_kills_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=100_000)
    task = asyncio.create_task(run.to_end())
    await run.until("step 1")
    run.session.ask_to_stop()
    run.session.ask_to_stop()
    status = await task
    assert run.session.killed
    assert exit_code(status, killed=run.session.killed) == 130
    # How far it had come stands in the table of this command, not only in that of the next.
    assert [(entry.attempt, entry.cause) for entry in status.ledger] == [(1, Cause.SUSPENDED)]
    assert (status.ledger[0].last_step or 0) >= 1
    assert "attempt 1 ended at step" in run.out.getvalue()
    (run.directory.path / "steps").write_text("99990")
    status = await Run(tmp_path, steps=100_000).to_end()
    assert [(e.attempt, e.cause) for e in status.ledger] == [(1, Cause.SUSPENDED), (2, Cause.COMPLETED)]


async def test_killed_before_anything_ran(tmp_path: Path) -> None:
    """No pod is started after the second stop, not even to be ended."""
    run = Run(tmp_path, steps=100_000)
    run.session.ask_to_stop()
    run.session.ask_to_stop()
    assert exit_code(await run.to_end(), killed=run.session.killed) == 130
    assert not (run.directory.path / "pods").exists()


async def test_wrong_configuration_is_not_tried_again(tmp_path: Path) -> None:
    status = await Run(tmp_path, nodes=1, ends="InvalidConfiguration").to_end()
    assert exit_code(status) == 78
    assert len(status.ledger) == 1
    assert status.restarts.total == 0


async def test_command_that_was_cut_off_is_continued(tmp_path: Path) -> None:
    """SIGKILL to the command itself: its saved object says that an attempt runs, and nothing does."""
    cut = Run(tmp_path, steps=100_000)
    task = asyncio.create_task(cut.to_end())
    await cut.until("step 1")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    (cut.directory.path / "steps").write_text("99990")
    status = await Run(tmp_path, steps=100_000).to_end()
    assert exit_code(status) == 0
    assert (status.ledger[0].attempt, status.ledger[0].free) == (1, True)
    assert status.ledger[-1].cause is Cause.COMPLETED


async def test_a_recovery_of_the_same_command_runs_the_files_it_began_with(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("first = 1")
    run = Run(tmp_path, nodes=1, steps=40, hold=10, spec={"code": {"configMap": {"name": "code"}}})
    task = asyncio.create_task(run.to_end())
    await run.until("step 10")
    (tmp_path / "m.py").write_text("second = 2")
    await run.until("m.py edited")
    pod = run.session.kubelet.running(0)
    assert pod is not None
    pod.process.kill()
    status = await task
    assert [entry.cause for entry in status.ledger] == [Cause.POD_FAILED, Cause.COMPLETED]
    assert len({entry.code_hash for entry in status.ledger}) == 1
    assert status.ledger[0].code_hash is not None
    (ran,) = (run.directory.path / "pods/one-2-0/root").rglob("m.py")
    assert ran.read_text() == "first = 1"
    assert kept_code(run.directory) == {"m.py": "first = 1"}


async def test_another_number_of_ranks_is_refused_without_ending_the_run(tmp_path: Path) -> None:
    """The file was edited between two commands; once it is set back, the run goes on."""
    first = Run(tmp_path, steps=1000)
    ending = asyncio.ensure_future(first.to_end())
    await first.until("step ")
    first.session.ask_to_stop()
    assert exit_code(await ending) == 75
    second = Run(tmp_path, nodes=1)
    status = await second.to_end()
    assert exit_code(status) == 78
    assert status.phase == "Blocked", status.conditions
    assert "spec.nodes = 1" in second.out.getvalue()
    assert "set it back to 2" in outcome(status)
    third = Run(tmp_path, steps=1)
    assert third.directory == first.directory
    status = await third.to_end()
    assert exit_code(status) == 0
    assert [e.cause for e in status.ledger] == [Cause.SUSPENDED, Cause.COMPLETED]


async def test_an_agent_that_leaves_no_record_leaves_the_end_of_its_log(tmp_path: Path) -> None:
    run = Run(tmp_path, nodes=1)
    run.session.kubelet.command = (sys.executable, "-c", "import a_package_nobody_has")
    status = await run.to_end()
    assert status.ledger[0].cause is Cause.POD_FAILED
    culprit = status.ledger[0].culprit
    assert culprit is not None
    assert "No module named 'a_package_nobody_has'" in str(culprit.message)
    assert "No module named 'a_package_nobody_has'" in run.out.getvalue()
