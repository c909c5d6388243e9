"""One pod as processes: the agent and everything it started live and die together, as in a container."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_KILL_PASSES = 20  # a process may fork between the listing and its death; each pass finds the children of the last
_LOOK_S = 0.05  # between two looks at a process where the kernel does not tell of its end


@dataclass(slots=True)
class PodProcess:
    """A running agent; leader of a session that all its descendants share.

    Only :meth:`wait` reaps the agent. Until then its id, which is the session's, cannot be given to another process,
    so signals reach nobody else; afterwards none is sent. (asyncio's and subprocess's ways to signal reap.)
    """

    process: subprocess.Popen[bytes]

    @classmethod
    async def start(cls, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> PodProcess:
        """Start ``argv`` with its output appended to ``log``.

        The new session keeps the terminal's Ctrl-C away from it: stopping is our decision, made once for all pods.
        Should this process die, the kernel asks the agent to stop (Linux), so nothing trains on unattended.
        """
        with log.open("ab") as output:
            # In this very thread: the kernel's signal comes at the end of the thread that forked.
            process = subprocess.Popen(  # noqa: ASYNC220 - blocks until exec, as asyncio's own start does
                argv,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
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
        """As a container runtime tells it: 128 + signal for a death by signal; None until :meth:`wait` saw its end."""
        code = self.process.returncode
        return code if code is None or code >= 0 else 128 - code

    def terminate(self) -> None:
        """SIGTERM to the agent alone, as a kubelet does to pid 1."""
        if self.process.returncode is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to every process of the pod; nothing once it has ended."""
        if self.process.returncode is not None:
            return
        for _ in range(_KILL_PASSES):
            members = session_members(self.pid)
            for pid in members:
                kill_member(pid, self.pid)
            if not members:
                return

    async def wait(self) -> int:
        """Wait for the agent's end, then end what it left behind; the exit code."""
        if self.process.returncode is None:
            await _end_of(self.process)
            self.kill()  # before the agent is reaped, while the session's id is its own
            self.process.wait()
        code = self.exit_code
        assert code is not None
        return code


async def _end_of(process: subprocess.Popen[bytes]) -> None:
    """Return when the process has ended, on Linux without reaping it."""
    if not sys.platform.startswith("linux"):
        while process.poll() is None:  # noqa: ASYNC110 - nothing here could set an event
            await asyncio.sleep(_LOOK_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


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


def kill_member(pid: int, session: int) -> None:
    """SIGKILL to a process, if it still is one of the session."""
    try:
        if not sys.platform.startswith("linux"):
            os.kill(pid, signal.SIGKILL)
            return
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # died meanwhile: what we wanted
        return
    try:
        # Looked up again: since the listing it may have died and its id be another's. The descriptor's cannot change.
        if _state_and_session(Path("/proc") / str(pid))[1] == session:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _die_with_parent() -> Callable[[], None] | None:
    """What the child runs before exec: ask the kernel for SIGTERM when we die (loaded before the fork)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
