"""Trials on this machine: each a ``thunderhead run`` of its own, whose job file can be run again by hand.

<sweep>/trials/<number>/job.yaml   with the Python files that lay beside the sweep's job
                        log        what ``thunderhead run`` said
                        runs/      its directory of runs
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import ExitCode
from thunderhead_cli.jobfile import JobFile
from thunderhead_cli.local.code import files_beside
from thunderhead_cli.local.rundir import RunDir, choose_run, is_finished
from thunderhead_cli.sweep.file import as_text
from thunderhead_cli.sweep.runner import Seen, Stand, seen_in

COMMAND: Final = (sys.executable, "-c", "from thunderhead_cli.main import command_line; command_line('thunderhead')()")
_STOPPED: Final = (ExitCode.STOPPED, 130)


@dataclass(slots=True)
class LocalRunner:
    """Implements :class:`~thunderhead_cli.sweep.runner.Runner`.

    Attributes:
        directory: of the sweep.
        file: the job file that trials are made of.
        changed: called when a trial's process ends.
        command: runs a job.
    """

    directory: Path
    file: JobFile
    changed: Callable[[], None]
    command: tuple[str, ...] = COMMAND
    _processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    _names: dict[int, str] = field(default_factory=dict)

    async def start(self, number: int, job: Mapping[str, Any]) -> None:
        self._names[number] = job["metadata"]["name"]
        run = self._newest(number)
        if run is not None and is_finished(run.load()):
            return
        place = self._place(number)
        place.mkdir(parents=True, exist_ok=True)
        self._write(place, job)
        argv = [*self.command, "run", "-f", str(place / "job.yaml"), "--runs", str(place / "runs")]
        with (place / "log").open("ab") as log:
            # In a session of its own: Ctrl-C is for the sweep, which asks each trial once.
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._processes[number] = process
        asyncio.ensure_future(process.wait()).add_done_callback(lambda _: self.changed())

    async def look(self, numbers: Collection[int]) -> Mapping[int, Seen]:
        return {number: self._seen(number) for number in numbers}

    def _seen(self, number: int) -> Seen:
        process, run = self._processes.get(number), self._newest(number)
        code = None if process is None else process.returncode
        saved = None if run is None else run.load()
        seen = seen_in(TrainingJobStatus.model_validate((saved or {}).get("status") or {}))
        if process is None or seen.stand in (Stand.COMPLETE, Stand.FAILED):
            return seen
        if code is None:
            return replace(seen, stand=Stand.RUNNING)
        if code in _STOPPED:
            return replace(seen, stand=Stand.STOPPED)
        return replace(seen, stand=Stand.FAILED, why=f"exit code {code}: {self._last_words(number)}")

    async def stop(self, number: int) -> None:
        self._signal(number, signal.SIGTERM)

    async def kill(self) -> None:
        for number, process in self._processes.items():
            if process.returncode is None:
                self._signal(number, signal.SIGTERM)
                self._signal(number, signal.SIGINT)  # of one kind alone, two may be taken for one
        await asyncio.gather(*(process.wait() for process in self._processes.values()))

    def where(self, number: int) -> str:
        return f"thunderhead run -f {_shown(self._place(number) / 'job.yaml')}"

    def _signal(self, number: int, which: signal.Signals) -> None:
        process = self._processes.get(number)
        if process is not None and process.returncode is None:
            process.send_signal(which)

    def _place(self, number: int) -> Path:
        return self.directory / "trials" / str(number)

    def _newest(self, number: int) -> RunDir | None:
        """The trial's run; a trial has one, which every command goes on with."""
        runs, name = self._place(number) / "runs", self._names[number]
        if not (runs / name).is_dir():
            return None
        following = choose_run(runs, name, fresh=True)
        return RunDir(following.path.with_name(str(int(following.path.name) - 1)))

    def _write(self, place: Path, job: Mapping[str, Any]) -> None:
        documents = [dict(job)]
        for name, data in self.file.config_maps.items():
            documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(data)})
        (place / "job.yaml").write_text("---\n".join(map(as_text, documents)), encoding="utf-8")
        for name in files_beside(self.file.path.absolute().parent):
            shutil.copyfile(self.file.path.absolute().parent / name, place / name)

    def _last_words(self, number: int) -> str:
        lines = (self._place(number) / "log").read_text(encoding="utf-8", errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{said} ({_shown(self._place(number) / 'log')})"


def _shown(path: Path) -> str:
    """As it is typed from here."""
    return os.path.relpath(path)
