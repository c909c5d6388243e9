"""``thunderhead run``: from a valid job file to an exit code."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from thunderhead_api.extras import require, uses_s3
from thunderhead_api.job_exit import exit_code
from thunderhead_api.names import pod_name
from thunderhead_api.status import TrainingJobStatus
from thunderhead_cli.jobfile import JobFile
from thunderhead_cli.local.cluster import LocalCluster
from thunderhead_cli.local.code import CodeWatch, in_the_users_files, keep_code
from thunderhead_cli.local.faults import KillPod, parse_kill
from thunderhead_cli.local.kubelet import Kubelet
from thunderhead_cli.local.launch import AGENT
from thunderhead_cli.local.local_job import LocalJob, localise, spec_changes
from thunderhead_cli.local.logs import LogFollower, Logs
from thunderhead_cli.local.operator import LocalOperator
from thunderhead_cli.local.progress_line import ProgressLine
from thunderhead_cli.local.results import results_of
from thunderhead_cli.local.rundir import RunDir, choose_run, exclusive
from thunderhead_cli.local.session import Session
from thunderhead_cli.local.summary import Places, print_summary, summary
from thunderhead_operator.cluster.memory import MemoryCluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for besides the file.

    Attributes:
        runs: directory of all runs.
        fresh: begin anew even where the newest run has not finished.
        checkpoint_uri: None (the run's directory), ``"job"`` (as the file says), or a URI.
        kills: faults on purpose, as ``NODE@WHEN``.
        progress_seconds: between two progress lines in a log.
        logs: whose output is shown.
    """

    runs: Path
    fresh: bool
    checkpoint_uri: str | None
    kills: list[str]
    progress_seconds: float
    logs: Logs


def run(file: JobFile, options: Options) -> int:
    """Run the valid job of ``file`` on this machine; the exit code.

    Raises:
        WrongOption: an option does not fit.
        JobFileError: the file does not.
        MissingExtra: packages are not installed that the job needs.
        RunDirError: the run's directory cannot be used.
    """
    require("thunderhead run", "runtime")
    name = file.job["metadata"]["name"]
    faults = [parse_kill(text, nodes=file.job["spec"].get("nodes", 1)) for text in options.kills]
    with exclusive(options.runs, name):
        directory = choose_run(options.runs, name, fresh=options.fresh)
        local = localise(file, directory, checkpoint_uri=options.checkpoint_uri)
        if uses_s3(local.job["spec"]):
            require("a job with checkpoints in S3", "s3")
        console = Console(highlight=False)
        _introduce(console, local, directory)
        status, killed = asyncio.run(_drive(local, directory, faults, options))
        print_summary(console, summary(name, status, _places(local, directory, status), killed=killed))
    return exit_code(status, killed=killed)


def _places(local: LocalJob, directory: RunDir, status: TrainingJobStatus) -> Places:
    """Where everything of the run is."""
    pods = [pod_name(local.job["metadata"]["name"], attempt, 0) for attempt in range(1, status.attempt + 1)]
    return Places(
        checkpoint_uri=local.job["spec"]["checkpoint"]["uri"],
        pods_dir=str(directory.path / "pods"),
        results_dir=str(directory.results),
        results=results_of(directory, pods),
    )


def _introduce(console: Console, local: LocalJob, directory: RunDir) -> None:
    saved = directory.load()
    how = "new run" if saved is None else "continues an unfinished run; --fresh begins a new one"
    console.print(f"run:         {directory.path}  ({how})", soft_wrap=True)
    for note in local.notes:
        console.print(note, soft_wrap=True)
    changed = [] if saved is None else spec_changes(saved, local.job)
    for line in changed:
        console.print(f"changed:     {line}", soft_wrap=True)


async def _drive(
    local: LocalJob, directory: RunDir, faults: list[KillPod], options: Options
) -> tuple[TrainingJobStatus, bool]:
    """The job's last status, and whether the user had it killed."""
    line = ProgressLine(
        sys.stdout,
        is_terminal=sys.stdout.isatty(),
        interval_s=options.progress_seconds,
        clock=time.monotonic,
        width=shutil.get_terminal_size((160, 24)).columns,
    )
    session = assemble(local, directory, faults, line, logs=options.logs)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, session.ask_to_stop)
    status = await session.run_to_end()
    return status, session.killed


def assemble(
    local: LocalJob,
    directory: RunDir,
    faults: list[KillPod],
    line: ProgressLine,
    *,
    logs: Logs = Logs.NONE,
    agent: tuple[str, ...] = AGENT,
) -> Session:
    """A session over a cluster that holds the job; ``agent`` is what runs in its pods."""
    meta = local.job["metadata"]
    cluster = LocalCluster(MemoryCluster(_now), meta["namespace"], meta["name"])
    cluster.submit(local.job, uid=str(uuid.uuid4()), saved=directory.load())
    cluster.add_code(local.config_maps)
    if local.code:
        keep_code(directory, local.code)
    kubelet = Kubelet(
        store=cluster,
        pod_dir=directory.pod,
        here=Path.cwd(),
        environment=os.environ,
        now=_now,
        command=agent,
        results=directory.results,
    )
    return Session(
        cluster=cluster,
        operator=LocalOperator(cluster, now=_now, monotonic=time.monotonic),
        kubelet=kubelet,
        run=directory,
        line=line,
        logs=LogFollower(logs),
        clock=time.monotonic,
        faults=faults,
        code=CodeWatch(local.code_dir, local.code, time.monotonic),
        named=in_the_users_files(directory, local.code_dir, local.code),
    )


def _now() -> datetime:
    return datetime.now(UTC)
