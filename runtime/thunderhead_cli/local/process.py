"""One pod as processes: the agent and everything it started live and die together, as in a container."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_KILL_PASSES = 20  # a process may fork between the listing and its death; each pass finds the children of the last


@dataclass(slots=True)
class PodProcess:
    """A running agent; leader of a session that all its descendants share."""

    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> PodProcess:
        """Start ``argv`` with its output appended to ``log``.

        The new session keeps the terminal's Ctrl-C away from it: stopping is our decision, made once for all pods.
        Should this process die, the kernel asks the agent to stop (Linux), so nothing trains on unattended.
        """
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=dict(env),
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """Process id of the agent, and id of the session."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """As a container runtime tells it: 128 + signal for a death by signal; None while it runs."""
        code = self.process.returncode
        return code if code is None or code >= 0 else 128 - code

    def terminate(self) -> None:
        """SIGTERM to the agent alone, as a kubelet does to pid 1."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to every process of the pod."""
        for _ in range(_KILL_PASSES):
            members = session_members(self.pid)
            for pid in members:
                _kill(pid)
            if not members:
                return

    async def wait(self) -> int:
        """Wait for the agent's end, then end what it left behind; the exit code."""
        await self.process.wait()
        self.kill()
        code = self.exit_code
        assert code is not None
        return code


def session_members(session: int) -> list[int]:
    """Live processes of a session, the leader first; without /proc only the leader's process group can be told."""
    if not sys.platform.startswith("linux"):
        return _group_members(session)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            state, sid = _state_and_session(entry)
            if sid == session and state not in ("Z", "X"):
                found.append(int(entry.name))
    return sorted(found)


def _state_and_session(entry: Path) -> tuple[str, int]:
    try:
        stat = (entry / "stat").read_text()
    except OSError:  # gone meanwhile
        return "X", -1
    # The command in parentheses may hold anything, spaces and parentheses included; the fields follow the last one.
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[3])


def _group_members(group: int) -> list[int]:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return []
    return [-group]  # kill() reads a negative id as a process group


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # died meanwhile: what we wanted
        return


def _die_with_parent() -> Callable[[], None] | None:
    """What the child runs before exec: ask the kernel for SIGTERM when we die (loaded before the fork)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
