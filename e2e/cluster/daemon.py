"""Starting long-running programs so that they outlive the one who started them and are never lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .cgroups import Cgroup
from .shell import Argument, run

# Joins each cgroup and only then becomes the program, so there is no moment at which the program runs outside of them.
_JOIN_AND_EXEC = """
log=$1; shift
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done
shift
exec "$@" >>"$log" 2>&1 </dev/null
"""


def start(group: Cgroup, command: Sequence[Argument], *, log: Path, env: Mapping[str, str] | None = None) -> None:
    """Starts a program in `group`, in a session of its own, its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    directories = group.create()
    run("setsid", "--fork", "sh", "-c", _JOIN_AND_EXEC, "start", log, *directories, "--", *command, env=env)


def is_running(group: Cgroup) -> bool:
    return bool(group.pids())
