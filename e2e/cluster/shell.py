"""Running commands, with what they said in the error when they fail."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .config import ClusterError
from .together import LOOK_S, go_on, is_halted

Argument = str | Path

MORTAL: tuple[Argument, ...] = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: it ends with us, even if we are killed."""

CONTAINED: tuple[Argument, ...] = (
    *MORTAL, "unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--mount", "--",
)  # fmt: skip
"""Before a command: like MORTAL, and whatever the command starts and mounts ends with it."""


class CommandError(ClusterError):
    """A command exited with another status than 0."""

    def __init__(self, command: Sequence[Argument], status: int, said: str, log: Path | None = None) -> None:
        line = shlex.join(str(word) for word in command)
        where = "" if log is None else f"\nlog: {log}"
        super().__init__(f"{line}\nexited with {status}:\n{said.strip()[-3000:]}{where}")
        self.status = status
        self.said = said


def run(
    *command: Argument,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    timeout_s: float | None = None,
) -> str:
    """Runs a command to its end and returns its standard output; `env` is added to this process's environment."""
    go_on()
    # A file, not a pipe: communicate loses the rest of its input when it is called again after a time-out.
    with tempfile.TemporaryFile() as given:
        given.write(stdin or b"")
        given.seek(0)
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    out, errors = _finished(process, command, timeout_s)
    if process.returncode != 0:
        raise CommandError(command, process.returncode, (out[-2000:] + errors).decode(errors="replace"))
    return out.decode(errors="replace")


def run_logged(*command: Argument, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    """Runs a long command, its output going to a file that can be watched; the error quotes the end of it."""
    go_on()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        _finished(process, command, None)
    if process.returncode != 0:
        raise CommandError(command, process.returncode, log.read_text(errors="replace")[-3000:], log)


def _finished(
    process: subprocess.Popen[bytes], command: Sequence[Argument], timeout_s: float | None
) -> tuple[bytes, bytes]:
    """What a process said until its end. One that would end with us is killed where another part has failed."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.communicate(timeout=LOOK_S)
                if deadline is not None and time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(process.args, timeout_s or 0)
                if is_halted() and tuple(command[: len(MORTAL)]) == MORTAL:
                    process.kill()
        except BaseException:
            process.kill()
            raise


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float, every_s: float = 0.1) -> None:
    """Polls until `condition` holds. Raises ClusterError naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not so after {timeout_s:g} s")
        time.sleep(every_s)


def remove_empty(directory: Path) -> None:
    """Removes a directory unless there is something in it."""
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()


def succeeds(run_it: Callable[..., str], *words: Argument) -> bool:
    """Whether `run_it(*words)`, which is `run` or one of its kind, exits with 0 within half a minute."""
    try:
        run_it(*words, timeout_s=30)
    except (CommandError, subprocess.TimeoutExpired):
        return False
    return True
