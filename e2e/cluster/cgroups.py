"""Cgroups as the record of what belongs to the cluster.

Every process of the cluster is moved into a cgroup before its program starts, so the kernel itself remembers what was
started, whatever happens to the one who started it: no file of pids can be lost, or name a stranger who got the number.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from .config import ClusterError
from .shell import wait_until

MOUNTS = Path("/sys/fs/cgroup")
_SETUP_FILES = ("cpuset.cpus", "cpuset.mems")


def hierarchies(mounts: Path = MOUNTS) -> list[Path]:
    """Every mounted hierarchy of cgroup v1, that which freezes first."""
    found = [mounts / "freezer", *sorted(p for p in mounts.iterdir() if p.is_dir() and not p.is_symlink())]
    required = {"freezer", "memory", "cpu", "pids"}
    missing = sorted(name for name in required if not (mounts / name / "cgroup.procs").exists())
    if missing:
        raise ClusterError(
            f"cgroup hierarchies {', '.join(missing)} are not mounted under {mounts}: without a docker engine the "
            "nodes need cgroup v1. Start a docker engine, and kind is used instead"
        )
    return [p for p in dict.fromkeys(found) if (p / "cgroup.procs").exists()]


class Cgroup:
    """The directory of one name in every hierarchy."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __truediv__(self, child: str) -> Cgroup:
        return Cgroup(f"{self.path}/{child}")

    def directories(self) -> list[Path]:
        return [top / self.path for top in hierarchies()]

    def create(self) -> list[Path]:
        """Makes the group, ready for processes. Returns its directories."""
        for directory in self.directories():
            directory.mkdir(parents=True, exist_ok=True)
        _inherit_cpusets(self.path)
        return self.directories()

    def set(self, hierarchy: str, file: str, value: str) -> None:
        (MOUNTS / hierarchy / self.path / file).write_text(value)

    def pids(self) -> list[int]:
        """The processes in this group and below it."""
        found: set[int] = set()
        for directory, _, _ in os.walk(MOUNTS / "freezer" / self.path):
            found.update(_read_pids(Path(directory) / "cgroup.procs"))
        return sorted(found)

    def freeze(self, *, timeout_s: float = 30) -> None:
        """Stops every process in and below the group at once; a frozen process cannot start another."""
        state = MOUNTS / "freezer" / self.path / "freezer.state"
        state.write_text("FROZEN")
        wait_until(lambda: state.read_text().strip() == "FROZEN", f"freezing {self.path}", timeout_s=timeout_s)

    def thaw(self) -> None:
        (MOUNTS / "freezer" / self.path / "freezer.state").write_text("THAWED")

    def is_frozen(self) -> bool:
        return (MOUNTS / "freezer" / self.path / "freezer.state").read_text().strip() != "THAWED"

    def kill(self, *, timeout_s: float = 60) -> None:
        """SIGKILL for every process in and below the group, frozen ones included, and waits until they are gone."""
        if not (MOUNTS / "freezer" / self.path).exists():
            return
        deadline = time.monotonic() + timeout_s
        while pids := self.pids():
            for pid in pids:
                _kill(pid)
            self.thaw()  # a frozen process dies when it thaws
            if time.monotonic() > deadline:
                raise ClusterError(f"processes {pids} of {self.path} did not die within {timeout_s:g} s of SIGKILL")
            time.sleep(0.05)

    def remove(self, *, timeout_s: float = 30) -> None:
        """Removes the group and all below it from every hierarchy; its processes must be gone."""
        for directory in self.directories():
            wait_until(lambda d=directory: _removed(d), f"removing {directory}", timeout_s=timeout_s)  # type: ignore[misc]  # mypy does not infer a default argument's type in a lambda

    def exists(self) -> bool:
        return any(directory.exists() for directory in self.directories())


def _inherit_cpusets(path: str) -> None:
    """A new cpuset has no CPUs, and refuses processes until it has; it takes its parent's."""
    top = MOUNTS / "cpuset"
    current = top
    for part in Path(path).parts if top.exists() else ():
        for file in _SETUP_FILES:
            if not (current / part / file).read_text().strip():
                (current / part / file).write_text((current / file).read_text())
        current = current / part


def _read_pids(file: Path) -> list[int]:
    try:
        return [int(line) for line in file.read_text().split()]
    except OSError:  # the group went away between listing and reading (ENODEV)
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _removed(directory: Path) -> bool:
    """Tries to remove a tree of cgroups; False while the kernel still holds one of them busy."""
    for child, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(child)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return not directory.exists()
