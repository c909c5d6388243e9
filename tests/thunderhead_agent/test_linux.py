"""Memory kills as the kernel counts them; orphans and parents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from thunderhead_agent.linux import oom_kills

V2 = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        pytest.param({"memory.events": V2}, "0::/\n", 2, id="v2, seen from inside the container"),
        pytest.param({"a/b/memory.events": V2}, "0::/a/b\n", 2, id="v2, without a cgroup namespace"),
        pytest.param({"memory.events": "oom_kill 9\n", "a/memory.events": V2}, "0::/a\n", 2, id="v2, own group first"),
        pytest.param({"memory/memory.oom_control": V1}, "4:memory:/\n0::/\n", 5, id="v1, seen from inside"),
        pytest.param({"memory/x/memory.oom_control": V1}, "9:cpu,memory:/x\n", 5, id="v1, without a namespace"),
        pytest.param({"memory.events": "low 0\n"}, "0::/\n", 0, id="a kernel that does not count"),
        pytest.param({}, "", 0, id="no cgroup at all"),
    ],
)
def test_memory_kills_are_read_from_the_cgroup(tmp_path: Path, files: dict[str, str], own: str, expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert oom_kills(tmp_path, own) == expected


ADOPT = """
import os, signal, subprocess, sys, time
from thunderhead_agent import linux
linux.adopt_orphans()
kept = subprocess.Popen(["sleep", "1000"])
known = {kept.pid}
# A child that leaves two grandchildren behind: one that ends at once, one that would stay.
subprocess.run(["sh", "-c", "setsid sleep 1000 & setsid true &"], check=True)
end = time.monotonic() + 20
while len(linux.children() - known) != 1 and time.monotonic() < end:
    linux.reap_orphans(known)
    time.sleep(0.01)
print("adopted", len(linux.children() - known))
linux.kill_children(except_for=known)
while linux.children() != known and time.monotonic() < end:
    linux.reap_orphans(known)
    time.sleep(0.01)
print("left", linux.children() == known, "kept", kept.poll())
kept.kill()
kept.wait()
"""


def test_orphans_are_adopted_reaped_and_killed_and_owned_children_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", ADOPT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("adopted 1\nleft True kept None\n", "")
