"""Trials that do what a table says, for tests of what a sweep makes of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from thunderhead_cli.local.progress_line import ProgressLine
from thunderhead_cli.sweep.drive import Drive
from thunderhead_cli.sweep.file import Objective, SweepFile
from thunderhead_cli.sweep.runner import Seen, Stand
from thunderhead_cli.sweep.study import Study

JOB: dict[str, Any] = {
    "apiVersion": "thunderhead.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "job"},
    "spec": {"module": {"class_path": "a.B"}, "trainer": {"max_epochs": 3, "callbacks": [{"class_path": "c.D"}]}},
}


def a_sweep(**changes: Any) -> SweepFile:
    fields: dict[str, Any] = {
        "name": "lr",
        "job": Path("job.yaml"),
        "parameters": {"module.init_args.lr": {"type": "float", "low": 0.0, "high": 1.0}},
        "objective": Objective(metric="val_loss"),
        "trials": 3,
        "sampler": {"class_path": "RandomSampler", "init_args": {"seed": 1}},
    }
    return SweepFile.model_validate(fields | changes)


def at(epoch: int, value: float | str | None = None, stand: Stand = Stand.RUNNING, why: str = "") -> Seen:
    metrics = {} if value is None else {"val_loss": value}
    return Seen(stand=stand, epoch=epoch, step=10 * epoch, metrics=metrics, why=why)


def done(value: float | str | None) -> Seen:
    return at(3, value, Stand.COMPLETE)


class Table:
    """A runner whose trials stand, look by look, as a table says; one that was asked to stop is stopped next."""

    def __init__(self, rows: Mapping[int, Sequence[Seen]]) -> None:
        self.all_began = asyncio.Event()
        self.rows = {number: list(row) for number, row in rows.items()}
        self.started: list[int] = []
        self.jobs: dict[int, Mapping[str, Any]] = {}
        self.stopped: list[int] = []
        self.killed = False
        self.at_once = 0
        self._running: set[int] = set()

    async def start(self, number: int, job: Mapping[str, Any]) -> None:
        self.started.append(number)
        self.jobs[number] = job
        self._running.add(number)
        if len(self.started) == len(self.rows):
            self.all_began.set()
        self.at_once = max(self.at_once, len(self._running))

    async def look(self, numbers: Collection[int]) -> Mapping[int, Seen]:
        return {number: self._seen(number) for number in numbers}

    def _seen(self, number: int) -> Seen:
        row = self.rows[number]
        seen = at(row[0].epoch, stand=Stand.STOPPED) if number in self.stopped else row[0]
        if len(row) > 1:
            row.pop(0)
        if seen.stand is not Stand.RUNNING:
            self._running.discard(number)
        return seen

    async def stop(self, number: int) -> None:
        self.stopped.append(number)

    async def kill(self) -> None:
        self.killed = True

    def where(self, number: int) -> str:
        return f"trial {number}"


def a_drive(sweep: SweepFile, runner: Table, directory: Path) -> tuple[Drive, Study, io.StringIO]:
    """One command's sweep over the study that is kept in ``directory``."""
    said = io.StringIO()
    line = ProgressLine(said, is_terminal=False, interval_s=1e9, clock=lambda: 0.0)
    study = Study(sweep, directory)
    changed = asyncio.Event()
    changed.set()
    return Drive(sweep, JOB, study, runner, line, changed, look_seconds=0.001), study, said
