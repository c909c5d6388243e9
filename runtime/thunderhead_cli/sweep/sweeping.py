"""``thunderhead sweep``: from a sweep file to an exit code."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from optuna.trial import TrialState
from rich.console import Console

from thunderhead_api.extras import require
from thunderhead_api.job_exit import INTERRUPTED
from thunderhead_api.treaty import ExitCode
from thunderhead_cli.jobfile import JobFile, read_job_file
from thunderhead_cli.local.progress_line import ProgressLine
from thunderhead_cli.local.rundir import exclusive
from thunderhead_cli.local.summary import print_summary
from thunderhead_cli.sweep.drive import Drive
from thunderhead_cli.sweep.file import SweepFile
from thunderhead_cli.sweep.on_cluster import ClusterRunner
from thunderhead_cli.sweep.on_machine import LocalRunner
from thunderhead_cli.sweep.report import results_table
from thunderhead_cli.sweep.runner import Runner
from thunderhead_cli.sweep.study import Study
from thunderhead_cli.sweep.trial_job import check_job

PLOT_FILE: Final = "history.png"
_CLUSTER_LOOK_S: Final = 5.0
_LOCAL_LOOK_S: Final = 0.5


class Place(StrEnum):
    """Where trials run."""

    LOCAL = "local"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """What the user asked for besides the file.

    Attributes:
        place: where trials run.
        sweeps: directory of all sweeps.
        namespace: of the jobs on a cluster.
        progress_seconds: between two progress lines in a log.
    """

    place: Place
    sweeps: Path
    namespace: str | None
    progress_seconds: float


def sweep(wanted: SweepFile, options: SweepOptions) -> int:
    """Run the trials that are still to be run; the exit code.

    Raises:
        WrongOption: an option does not fit.
        JobFileError: the sweep, or its job, cannot be used.
        MissingExtra: packages are not installed that trials need.
        RunDirError: the sweep's directory cannot be used.
    """
    if options.place is Place.LOCAL:
        require("thunderhead sweep on this machine", "runtime")
    job = read_job_file(wanted.job)
    check_job(wanted, job)
    with exclusive(options.sweeps, wanted.name, who="thunderhead sweep"):
        directory = (options.sweeps / wanted.name).absolute()
        study = Study(wanted, directory)
        console = Console(highlight=False)
        going_on = f"goes on after {len(study.trials)} trials" if study.trials else "new"
        console.print(f"sweep:       {directory}  ({going_on})", soft_wrap=True)
        drive, runner = asyncio.run(_drive(wanted, job, study, directory, options))
        _tell(console, wanted, study, runner, directory)
    return _exit_code(study, drive)


async def _drive(
    wanted: SweepFile, job: JobFile, study: Study, directory: Path, options: SweepOptions
) -> tuple[Drive, Runner]:
    changed = asyncio.Event()
    local = options.place is Place.LOCAL
    namespace = options.namespace or job.job.get("metadata", {}).get("namespace")
    runner: Runner = LocalRunner(directory, job, changed.set) if local else ClusterRunner(wanted.name, namespace)
    line = ProgressLine(
        sys.stdout,
        is_terminal=sys.stdout.isatty(),
        interval_s=options.progress_seconds,
        clock=time.monotonic,
        width=shutil.get_terminal_size((160, 24)).columns,
    )
    look_seconds = _LOCAL_LOOK_S if local else _CLUSTER_LOOK_S
    drive = Drive(wanted, job.job, study, runner, line, changed, look_seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, drive.ask_to_stop)
    await drive.run_to_end()
    return drive, runner


def _tell(console: Console, wanted: SweepFile, study: Study, runner: Runner, directory: Path) -> None:
    print_summary(console, results_table(wanted.name, study.trials, wanted.objective, list(wanted.parameters)))
    best = study.best
    if best is not None:
        console.print(f"best:        trial {best.number}: {runner.where(best.number)}", soft_wrap=True)
    if any(trial.state is TrialState.COMPLETE for trial in study.trials):
        study.save_plot(directory / PLOT_FILE)
        console.print(f"plot:        {directory / PLOT_FILE}", soft_wrap=True)


def _exit_code(study: Study, drive: Drive) -> int:
    """0 all trials ended and one is complete · 1 none is · 75 stopped, to be continued · 130 cut off."""
    if drive.killed:
        return INTERRUPTED
    if drive.stopped:
        return ExitCode.STOPPED
    return ExitCode.DONE if study.best is not None else ExitCode.FAILED
