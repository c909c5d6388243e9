"""A pod's processes: they live and die together."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thunderhead_cli.local.process import PodProcess, kill_member, session_members

# Starts a grandchild that ignores SIGTERM; says so through the FIFO "up"; waits.
TREE = """
import signal, subprocess, sys
subprocess.Popen([sys.executable, "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('up', 'w').close(); signal.pause()"])
signal.pause()
"""


async def start(tmp_path: Path, code: str) -> PodProcess:
    return await PodProcess.start(
        [sys.executable, "-c", code], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "log"
    )


async def started_tree(tmp_path: Path) -> PodProcess:
    os.mkfifo(tmp_path / "up")
    pod = await start(tmp_path, TREE)
    await asyncio.to_thread((tmp_path / "up").read_text)
    return pod


async def test_kill_takes_descendants_along(tmp_path: Path) -> None:
    pod = await started_tree(tmp_path)
    assert len(session_members(pod.pid)) == 2
    pod.kill()
    assert await pod.wait() == 128 + signal.SIGKILL
    assert session_members(pod.pid) == []


async def test_what_the_agent_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    pod = await started_tree(tmp_path)
    pod.terminate()
    assert await pod.wait() == 128 + signal.SIGTERM
    assert session_members(pod.pid) == []


@pytest.mark.parametrize("code", [0, 1, 75])
async def test_exit_code_is_the_agents(tmp_path: Path, code: int) -> None:
    pod = await start(tmp_path, f"raise SystemExit({code})")
    assert await pod.wait() == code


# Leaves a child behind and ends by itself.
LEAVES = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
raise SystemExit(7)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs an end that can be seen without reaping")
async def test_a_signal_that_comes_too_late_loses_neither_exit_code_nor_clean_up(tmp_path: Path) -> None:
    pod = await start(tmp_path, LEAVES)
    await asyncio.to_thread(os.waitid, os.P_PID, pod.pid, os.WEXITED | os.WNOWAIT)
    assert len(session_members(pod.pid)) == 1
    pod.terminate()
    assert await pod.wait() == 7
    assert session_members(pod.pid) == []


async def test_a_pod_that_has_ended_kills_nobody_who_got_its_id(tmp_path: Path) -> None:
    pod, bystander = await start(tmp_path, "pass"), await start(tmp_path, "import signal; signal.pause()")
    await pod.wait()
    pod.process.pid = bystander.pid  # as the system may give it again
    pod.kill()
    pod.terminate()
    assert bystander.process.poll() is None
    bystander.kill()
    assert await bystander.wait() == 128 + signal.SIGKILL


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sessions can be listed on Linux only")
async def test_a_process_of_another_session_is_not_killed(tmp_path: Path) -> None:
    bystander = await start(tmp_path, "import signal; signal.pause()")
    kill_member(bystander.pid, os.getsid(0))
    bystander.terminate()
    assert await bystander.wait() == 128 + signal.SIGTERM


async def test_output_goes_to_the_log(tmp_path: Path) -> None:
    pod = await start(tmp_path, "import sys; print('out'); print('err', file=sys.stderr)")
    await pod.wait()
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux's")
def test_agent_is_asked_to_stop_when_the_command_dies(tmp_path: Path) -> None:
    """SIGKILL to the command leaves nothing training on unattended."""
    os.mkfifo(tmp_path / "up")
    agent = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); open('up', 'w').close()"
    agent += "; signal.pause()"
    command = f"""
import asyncio, os, pathlib, sys
from thunderhead_cli.local.process import PodProcess
async def main():
    here = pathlib.Path({str(tmp_path)!r})
    pod = await PodProcess.start([sys.executable, "-c", {agent!r}], env=dict(os.environ), cwd=here, log=here / "log")
    await asyncio.to_thread((here / "up").read_text)
    print(pod.pid, flush=True)
    await pod.wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        fd = os.pidfd_open(pid)
        parent.kill()
    try:
        poll = select.poll()
        poll.register(fd)
        assert poll.poll(60_000), f"process {pid} lives on"
    finally:
        os.close(fd)
