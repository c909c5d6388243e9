"""Where a local run keeps everything: ``<runs>/<job>/<number>/``.

    job.json       the job object with its status, as a cluster would hold it; rewritten on every change
    code/          the user's Python files, as the newest command took them
    checkpoints/   committed checkpoints, unless the user names another place
    results/       files of loggers, .ckpt files, and what the code writes by relative paths, of all attempts
    pods/<pod>/    files, scratch and log of each pod

The next command continues a run that has not finished; it leaves a finished one alone and begins a new number.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thunderhead_api.treaty import ConditionType
from thunderhead_cli.options import WrongOption


class RunDirError(RuntimeError):
    """The directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """One numbered run of a job."""

    path: Path

    @property
    def job_file(self) -> Path:
        """The job object with its status."""
        return self.path / "job.json"

    @property
    def checkpoint_uri(self) -> str:
        """Where checkpoints go unless the user says otherwise."""
        return (self.path / "checkpoints").as_uri()

    @property
    def code_dir(self) -> Path:
        """The user's Python files as the newest command took them."""
        return self.path / "code"

    @property
    def results(self) -> Path:
        """Where loggers, ``.ckpt`` files and relative paths of the user's code go, of all attempts."""
        return self.path / "results"

    def pod(self, name: str) -> Path:
        """Directory of one pod."""
        return self.path / "pods" / name

    def load(self) -> dict[str, Any] | None:
        """The job object as it was saved last, or None for a run that never began.

        Raises:
            RunDirError: the file is there and unreadable.
        """
        try:
            job: dict[str, Any] = json.loads(self.job_file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunDirError(f"{self.job_file}: cannot be read: {error}; start anew with --fresh") from error
        return job

    def save(self, job: Mapping[str, Any]) -> None:
        """Replace the saved job object; a reader sees the old one or the new one, never a half.

        Raises:
            RunDirError: it cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            draft = self.job_file.with_suffix(".draft")
            draft.write_text(json.dumps(job, indent=1))
            os.replace(draft, self.job_file)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """What cannot be written in a directory of runs, in words.

    Raises:
        RunDirError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunDirError(
            f"{directory}: the run's files cannot be written: {error.strerror or error}; "
            "choose a directory that takes files with --runs"
        ) from error


def choose_run(runs: Path, job_name: str, *, fresh: bool) -> RunDir:
    """The run to continue, or a new one: the newest if it has not finished and ``fresh`` is not asked for."""
    numbers = [int(entry.name) for entry in _entries(runs / job_name) if entry.name.isdigit()]
    newest = max(numbers, default=0)
    current = RunDir((runs / job_name / str(newest)).absolute())
    if newest and not fresh and not is_finished(current.load()):
        return current
    return RunDir((runs / job_name / str(newest + 1)).absolute())


def is_finished(job: Mapping[str, Any] | None) -> bool:
    """Whether the job is Complete or Failed."""
    conditions = ((job or {}).get("status") or {}).get("conditions") or []
    final = (ConditionType.COMPLETE, ConditionType.FAILED)
    return any(c.get("type") in final and c.get("status") == "True" for c in conditions)


@contextmanager
def exclusive(runs: Path, job_name: str, *, who: str = "thunderhead run") -> Iterator[None]:
    """Hold the job's directory against a second command on this machine; the kernel lets go when we die.

    Args:
        runs: directory of all runs.
        job_name: whose directory.
        who: the command.

    Raises:
        WrongOption: ``runs`` is no directory that takes files.
        RunDirError: another command holds it.
    """
    directory = runs / job_name
    try:
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            file = (directory / ".lock").open("a+")
    except RunDirError as error:
        raise WrongOption(str(error)) from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirError(
                f"{directory}: another '{who}' of {job_name!r} is at work there; "
                f"wait for it, or choose another directory with --{who.rpartition(' ')[2]}s"
            ) from None
        yield


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []
