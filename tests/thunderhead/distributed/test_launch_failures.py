"""A script started by hand comes to an end: all of its processes do, whoever fails first and however."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = """
import atexit, os, signal, sys, time
from thunderhead.distributed.last_run import LAST_RUN
from thunderhead.distributed.environment import ProcessRank
from thunderhead.distributed.launch import ScriptLauncher

rank = int(os.environ.get("RANK", "0"))
does = sys.argv[1 + rank]
if does == "deaf":  # as a rank that stands in a collective, where a handler only takes a note
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if rank == 0:
    atexit.register(lambda: open("cleaned-up", "w").close())
    launcher = ScriptLauncher(ProcessRank(0, 3, 0, 3), {}, grace_s=float(os.environ["GRACE_S"]))
    launcher.outside = lambda local_rank: sys.argv[1 + local_rank] != "wait"
    launcher.launch()
with open(f"{rank}.draft", "w") as stream:
    stream.write(str(os.getpid()))
os.rename(f"{rank}.draft", f"{rank}.pid")

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)

wait_for("go")
if does == "raises":
    raise ValueError("no such thing")
if does == "caught":
    LAST_RUN.error = ValueError  # as the trainer does
if does == "exits":
    sys.exit(3)
if does == "asked":
    sys.exit(143)  # what the trainer does after SIGTERM on any rank
if does == "slow":
    time.sleep(2.5)
if does == "echo":  # a broken collective, seen before the rank that broke it has ended
    raise RuntimeError("connection closed by peer")
if does == "late":
    time.sleep(0.6)
    sys.exit(3)
if does not in ("done", "slow", "caught"):
    wait_for("never")
open(f"{rank}.done", "w").close()
"""


@dataclass
class Run:
    """A script of three ranks, all of which have come up."""

    directory: Path
    process: subprocess.Popen[str]
    pids: list[int]

    def go(self) -> None:
        """Let every rank do what it is to do."""
        (self.directory / "go").touch()

    def end(self) -> tuple[int, str]:
        """Exit code and standard error, once it has ended; nobody is left behind then."""
        _, said = self.process.communicate(timeout=60)
        give_up = time.monotonic() + 10
        while any(_is_alive(pid) for pid in self.pids):
            assert time.monotonic() < give_up, "a rank lives on"
            time.sleep(0.01)
        return self.process.returncode, said

    def done(self) -> list[int]:
        """Ranks that came to the end of the script."""
        return [rank for rank in range(3) if (self.directory / f"{rank}.done").exists()]


def _is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Run]]:
    """Whatever a test started is ended after it."""
    made: list[Run] = []
    yield made
    for run in made:
        for pid in run.pids:
            if _is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        run.process.kill()
        run.process.communicate()


def start(runs: list[Run], directory: Path, *does: str, grace_s: float = 1.0) -> Run:
    (directory / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", *does]
    environ = {**os.environ, "GRACE_S": str(grace_s)}
    process = subprocess.Popen(
        command, cwd=directory, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    run = Run(directory, process, [])
    runs.append(run)
    give_up = time.monotonic() + 60
    while not all((directory / f"{rank}.pid").exists() for rank in range(3)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.01)
    run.pids = [int((directory / f"{rank}.pid").read_text()) for rank in range(3)]
    return run


@pytest.mark.parametrize(
    ("does", "code", "culprit", "cleaned_up"),
    [
        # Only a rank 0 that hangs, or that was done already, has no time to clean up.
        ("wait raises deaf", 1, "local rank 1 ended with exit code 1", False),
        ("wait deaf exits", 1, "local rank 2 ended with exit code 3", False),
        ("raises deaf wait", 1, "local rank 0 raised ValueError", True),
        ("echo wait late", 1, "local rank 2 ended with exit code 3", True),
        ("done exits wait", 1, "local rank 1 ended with exit code 3", False),
        ("wait asked deaf", 143, None, False),
        # After SIGTERM all end at one step, and each saves in its time.
        ("done asked slow", 143, None, False),
        ("done slow done", 0, None, True),
        # An error that scripts caught leaves those alone that go on by themselves, not one that waits for this rank.
        ("caught slow done", 0, None, True),
        ("caught wait done", 0, "local rank 0 raised ValueError", True),
    ],
)
def test_all_end_and_the_first_to_fail_is_named(
    runs: list[Run], tmp_path: Path, does: str, code: int, culprit: str | None, cleaned_up: bool
) -> None:
    # An echo waits for the failure that it came from, which a busy machine delays; nobody is deaf there.
    run = start(runs, tmp_path, *does.split(), grace_s=30.0 if "echo" in does or "slow" in does else 1.0)
    run.go()
    ended, said = run.end()
    assert ended == code, said
    if culprit is None:
        assert "ending the other ranks" not in said
    else:
        assert said.count("ending the other ranks of this node") == 1
        assert f"{culprit}; ending" in said
    assert run.done() == [rank for rank, what in enumerate(does.split()) if what in ("done", "slow", "caught")]
    assert (tmp_path / "cleaned-up").exists() is cleaned_up


@pytest.mark.parametrize("rank", [1, 2])
def test_a_killed_rank_is_named_and_takes_all_along(runs: list[Run], tmp_path: Path, rank: int) -> None:
    run = start(runs, tmp_path, "wait", *("wait" if other == rank else "deaf" for other in (1, 2)))
    os.kill(run.pids[rank], signal.SIGKILL)
    ended, said = run.end()
    assert ended == 1
    assert f"local rank {rank} was ended by SIGKILL; ending the other ranks" in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel ends the others on Linux only")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_rank_0_takes_all_along_when_it_dies_outside_of_a_fit(
    runs: list[Run], tmp_path: Path, number: signal.Signals
) -> None:
    run = start(runs, tmp_path, "wait", "deaf", "deaf")
    os.kill(run.pids[0], number)
    assert run.end()[0] == -number


def test_ctrl_c_ends_all_and_accuses_nobody(runs: list[Run], tmp_path: Path) -> None:
    run = start(runs, tmp_path, "wait", "deaf", "wait")
    os.killpg(run.process.pid, signal.SIGINT)
    ended, said = run.end()
    assert ended == -signal.SIGINT
    assert "ending the other ranks" not in said
    assert (tmp_path / "cleaned-up").exists(), "rank 0 ends by itself"


def test_an_interrupted_rank_0_ends_the_others_soon(runs: list[Run], tmp_path: Path) -> None:
    """Of a signal to this process alone they do not know, so that waiting for them would take all the time given."""
    run = start(runs, tmp_path, "wait", "wait", "deaf", grace_s=1000)
    os.kill(run.process.pid, signal.SIGINT)
    ended, said = run.end()
    assert ended == -signal.SIGINT
    assert "ending the other ranks" not in said
