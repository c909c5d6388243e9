"""SIGTERM while a pod is still starting: whenever it comes, it is heeded, and the record says so."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_attempts import LIMIT_SECONDS, Process, Start

from thunderhead_api.messages import FrozenJob, TerminationRecord
from thunderhead_api.treaty import Env, ExitCode, Outcome

pytestmark = pytest.mark.timeout(600)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, by the kernel's word."""
    text = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in text.splitlines() if line.startswith("SigCgt:")).split()[1]
    return bool(int(mask, 16) >> (number - 1) & 1)


def until_it_catches(pid: int) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not catches(pid, signal.SIGTERM):
        assert time.monotonic() < end
        time.sleep(0.0005)


def child_of(pid: int) -> int | None:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[0]) if found else None


NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def _can_be_pid_1() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


def environ_of(directory: Path, job: FrozenJob) -> dict[str, str]:
    (directory / "job.json").write_text(job.model_dump_json(by_alias=True))
    return {
        **os.environ,
        Env.JOB_FILE: str(directory / "job.json"),
        Env.RUN_DIR: str(directory / "run"),
        Env.TERMINATION_FILE: str(directory / "termination"),
        Env.AGENT_HOST: "127.0.0.1",
        Env.AGENT_PORT: "0",
    }


@pytest.mark.skipif(not _can_be_pid_1(), reason="needs user and pid namespaces")
def test_pid_1_heeds_a_signal_that_comes_before_its_imports(tmp_path: Path, make_job: Callable[..., FrozenJob]) -> None:
    command = [*NAMESPACE, sys.executable, "-m", "thunderhead_agent"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        outer = subprocess.Popen(
            command, env=environ_of(tmp_path, make_job(nodes=1)), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        while (pid := child_of(outer.pid)) is None:
            time.sleep(0.0005)
        until_it_catches(pid)
        loaded = Path(f"/proc/{pid}/maps").read_text()
        os.kill(pid, signal.SIGTERM)
        assert "pydantic_core" not in loaded, "the handler has to come before what takes long"
        assert outer.wait(LIMIT_SECONDS) == ExitCode.STOPPED, log.read_text()
    finally:
        outer.kill()
        outer.wait()
    record = TerminationRecord.model_validate_json((tmp_path / "termination").read_bytes())
    assert (record.outcome, record.first_step) == (Outcome.STOPPED, None)
    assert "asked to stop (SIGTERM)" in log.read_text()


@pytest.mark.parametrize("seed", range(6))
def test_no_moment_of_the_start_is_deaf(seed: int, start: Start) -> None:
    """From the handler's first instant to the first steps; both nodes, as a drain or a deletion of the job does."""
    rng = random.Random(seed)
    attempt = start("entries:endless", processes=1)
    order: list[Process] = [node.process for node in attempt.nodes]
    rng.shuffle(order)
    for process in order:
        until_it_catches(process.pid)
        time.sleep(rng.choice([0.0, 10 ** rng.uniform(-3, 0)]))
        process.send_signal(signal.SIGTERM)
    assert attempt.wait() == [ExitCode.STOPPED] * 2, f"seed {seed}\n{attempt.logs()}"
