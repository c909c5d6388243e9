"""The few system calls that the standard library does not offer, and the cgroup's count of memory kills."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

AGENT_PID = "THUNDERHEAD_AGENT_PID"
"""Variable that tells the fork server whose child it is."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent_pid: int | None = None) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    A parent that died before the call is noticed by its pid, when given.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def name_process(name: str) -> None:
    """What ``top`` and ``/proc/<pid>/comm`` call this process; at most 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode()[:15] + b"\0")


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants (data loader workers of a dead rank), as pid 1 is anyway."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def allow_open_files(number: int) -> None:
    """Raise the soft limit of open files, for this process and those it starts, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def prefer_as_oom_victim(score: int = 500) -> None:
    """Let the kernel kill this worker before the agent, which is needed to tell what happened."""
    try:
        Path("/proc/self/oom_score_adj").write_text(str(score))
    except OSError as error:
        # A sandbox without that file is no reason not to train; the kernel then chooses by size, which is us anyway.
        print(f"cannot raise oom_score_adj: {error.strerror}", flush=True)


def reap_orphans(known: set[int]) -> int:
    """Collect exited children that nobody waits for; ``known`` pids have an owner. Returns how many."""
    reaped = 0
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return reaped
        # A known child that has exited stays first in line until its owner collects it; orphans wait behind it.
        if found is None or found.si_pid in known:
            return reaped
        os.waitpid(found.si_pid, os.WNOHANG)
        reaped += 1


def children() -> set[int]:
    """Pids of this process's children, from ``/proc``; none where the kernel does not list them."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found |= {int(pid) for pid in path.read_text().split()}
        except OSError:
            continue  # the thread has ended meanwhile
    return found


def kill_children(*, except_for: set[int]) -> None:
    """SIGKILL for every child that is not excepted: descendants of the dead that have become ours."""
    for pid in children() - except_for:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # gone by itself


def oom_kills(cgroup_dir: Path, own: str) -> int:
    """Processes the kernel has killed in this container for want of memory; 0 where no cgroup says.

    Args:
        cgroup_dir: mount of the cgroup file system (``/sys/fs/cgroup``).
        own: text of ``/proc/self/cgroup``.

    Version 2 counts in ``memory.events``, version 1 in ``memory.oom_control`` (the kernel's cgroup-v2.rst, memory.rst).
    """
    for path in _candidates(cgroup_dir, own):
        try:
            text = path.read_text()
        except OSError:
            continue
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _candidates(cgroup_dir: Path, own: str) -> list[Path]:
    """Own group by its path (no cgroup namespace), then the root of the mount (a container's usual view)."""
    unified, memory = "", ""
    for line in own.splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            unified = path.lstrip("/")
        elif "memory" in controllers.split(","):
            memory = path.lstrip("/")
    return [
        cgroup_dir / unified / "memory.events",
        cgroup_dir / "memory.events",
        cgroup_dir / "memory" / memory / "memory.oom_control",
        cgroup_dir / "memory" / "memory.oom_control",
    ]


def _prctl(option: int, value: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}, {value!r}): {os.strerror(code)}")
