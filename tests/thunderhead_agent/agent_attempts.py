"""Attempts of real agent processes on loopback, for tests."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from thunderhead_agent.plan import TRAIN
from thunderhead_api.messages import FrozenJob, StatusReply, TerminationRecord
from thunderhead_api.treaty import KEY_BYTES, Env, status_target

HERE = Path(__file__).parent
LIMIT_SECONDS = 180.0  # generous: the machine may be doing ten other things


class Process(Protocol):
    """What is used of a :class:`subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float) -> int: ...

    def kill(self) -> None: ...

    def send_signal(self, number: int) -> None: ...


class Template:
    """The process that agents are forked from; see ``agent_template.py``."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, str(HERE / "agent_template.py"), str(theirs.fileno())]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
        self._process = subprocess.Popen(command, env=environ, pass_fds=[theirs.fileno()])
        theirs.close()
        self._channel = ours
        self._lines = ours.makefile("rwb")

    def ask(self, **request: Any) -> Any:
        """One request, one answer."""
        self._lines.write(json.dumps(request).encode() + b"\n")
        self._lines.flush()
        return json.loads(self._lines.readline())

    def close(self) -> None:
        """End it, and with it every agent."""
        self._lines.close()
        self._channel.close()
        self._process.wait(LIMIT_SECONDS)


class ForkedProcess:
    """An agent forked from the template."""

    def __init__(self, template: Template, entry: str, environ: dict[str, str], log: Path) -> None:
        self._template = template
        self._code: int | None = None
        self.pid: int = template.ask(entry=entry, environ=environ, log=str(log))

    def wait(self, timeout: float) -> int:
        """Exit code, negative for a signal."""
        if self._code is None:
            self._code = self._template.ask(pid=self.pid, seconds=timeout)
        assert self._code is not None, f"process {self.pid} still runs after {timeout:g} s"
        return self._code

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self._code is None:
            os.kill(self.pid, number)


@dataclass
class Node:
    """One agent process and where it leaves things."""

    process: Process
    directory: Path

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def record(self) -> TerminationRecord:
        return TerminationRecord.model_validate_json((self.directory / "termination").read_bytes())

    def get(self, path: str) -> bytes:
        port = (self.directory / "run" / "agent.port").read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def status(self) -> StatusReply:
        job = FrozenJob.model_validate_json((self.directory.parent / "job.json").read_bytes())
        return StatusReply.model_validate_json(self.get(status_target(job.uid, job.attempt)))

    def worker(self, rank: int) -> int:
        """Pid of the process of a rank, by the name it gives itself."""
        (pid,) = [pid for pid in self.descendants() if Path(f"/proc/{pid}/comm").read_text() == f"rank-{rank}\n"]
        return pid

    def descendants(self) -> set[int]:
        """Every process below the agent, from ``/proc``."""
        return _below(self.process.pid)


@dataclass
class Attempt:
    """All agents of one attempt."""

    nodes: list[Node]
    directory: Path
    world_size: int

    def wait(self) -> list[int]:
        """Exit codes, in the order of nodes; a negative one for an agent that a signal killed."""
        return [node.process.wait(LIMIT_SECONDS) for node in self.nodes]

    def logs(self) -> str:
        return "".join(f"--- node {i}\n{node.log}" for i, node in enumerate(self.nodes))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that other processes do; their logs are the message if they do not."""
        end = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < end, self.logs()
            time.sleep(0.05)

    def is_training(self) -> bool:
        """Every rank has made a step."""
        try:
            ranks = self.nodes[0].status().ranks
        except (OSError, ValueError):
            return False
        return len(ranks) == self.world_size and all(rank.step > 0 for rank in ranks)


class Start:
    """Starts attempts of one job in a directory of the test's own; from the template, unless ``cold``."""

    def __init__(self, directory: Path, template: Callable[[], Template]) -> None:
        self.directory = directory
        self._template = template
        self.attempts: list[Attempt] = []

    def __call__(
        self,
        entry: str = TRAIN,
        *,
        fault: str = "",
        nodes: int = 2,
        processes: int = 2,
        attempt: int = 3,
        cold: bool = False,
        **spec: Any,
    ) -> Attempt:
        """All agents of one attempt; ``spec`` goes over a spec that has a store and a grace period of a minute."""
        spec = {"terminationGracePeriodSeconds": 60, "checkpoint": {"uri": f"file://{self.directory}/store"}, **spec}
        job = FrozenJob(
            namespace="team",
            name="digits",
            uid=f"u-{os.getpid()}",
            attempt=attempt,
            nodes=nodes,
            processes_per_node=processes,
            spec_hash="h",
            spec=spec,
        )
        directory = self.directory / f"attempt-{attempt}"
        directory.mkdir()
        job_file = directory / "job.json"
        job_file.write_text(job.model_dump_json(by_alias=True))
        (directory / "key").write_text(secrets.token_hex(KEY_BYTES))
        port = _free_port()
        environ = {Env.CODE_DIR: str(self.directory / "code"), "TEST_FAULT": fault}
        template = None if cold else self._template()
        begun = [_begin(entry, environ, directory, job_file, rank, port, template) for rank in range(nodes)]
        self.attempts.append(Attempt(begun, directory, nodes * processes))
        return self.attempts[-1]

    def close(self) -> None:
        """Kill whatever still runs."""
        for attempt in self.attempts:
            for node in attempt.nodes:
                node.process.kill()
                node.process.wait(LIMIT_SECONDS)


def _begin(
    entry: str, extra: dict[str, str], parent: Path, job_file: Path, rank: int, port: int, template: Template | None
) -> Node:
    directory = parent / f"node-{rank}"
    (directory / "cgroup").mkdir(parents=True)
    environ = {
        **os.environ,
        **extra,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE),
        "TEST_ORPHAN_FILE": str(directory / "orphan"),
        "TEST_OOM_FILE": str(directory / "cgroup" / "memory.events"),
        Env.JOB_FILE: str(job_file),
        Env.NODE_RANK: str(rank),
        Env.KEY_FILE: str(parent / "key"),
        Env.RENDEZVOUS_HOST: "127.0.0.1",
        Env.RENDEZVOUS_PORT: str(port),
        Env.AGENT_HOST: "127.0.0.1",
        Env.AGENT_PORT: "0",
        Env.RUN_DIR: str(directory / "run"),
        Env.TERMINATION_FILE: str(directory / "termination"),
        Env.CGROUP_DIR: str(directory / "cgroup"),
        Env.POD: f"digits-3-{rank}",
        Env.NODE: f"worker-{rank}",
    }
    (directory / "log").touch()
    if template is not None:
        return Node(ForkedProcess(template, entry, environ, directory / "log"), directory)
    command = [sys.executable, str(HERE / "agent_process.py"), entry]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)
    return Node(process, directory)


def _free_port() -> int:
    """Below those that the system gives to connections, any of which could take it before the agent does."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("none of a hundred ports is free")


def _below(pid: int) -> set[int]:
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = {int(child) for child in path.read_text().split()}
        except OSError:
            continue
        found |= direct.union(*(_below(child) for child in direct))
    return found


def newest_bits(store: Path) -> dict[str, str]:
    """Content of the shards of the newest commit below ``store``; the names hold nonces, the contents do not."""
    newest = max(store.glob("team/digits/*/shards/*/*"), key=lambda path: int(path.name))
    return {
        path.name.split("-", 1)[1]: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(newest.iterdir())
    }


def alive(pid: int) -> bool:
    """A zombie that only waits for its parent is dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
