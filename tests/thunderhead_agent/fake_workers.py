"""Workers without processes: what a rank does in a round is a function of its plan and its board."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from thunderhead.job.board import Board
from thunderhead_agent import linux
from thunderhead_agent.ending import Ending
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.settings import Settings, read_settings
from thunderhead_api.messages import FrozenJob
from thunderhead_api.treaty import Env

Script = Callable[[WorkerPlan, Board], Ending | None]
"""How the rank ends, or None: it goes on until it is killed."""


@dataclass
class FakeWorker:
    """What is used of a :class:`~thunderhead_agent.processes.WorkerProcess`; its sentinel is one end of a pipe."""

    plan: WorkerPlan
    pid: int = -1
    exit_code: int | None = None

    def __post_init__(self) -> None:
        sentinel, self._life = os.pipe()
        self.process = SimpleNamespace(sentinel=sentinel)

    def end(self, exit_code: int) -> None:
        if self.exit_code is None:
            self.exit_code = exit_code
            os.close(self._life)

    def kill(self) -> None:
        self.end(-9)


@dataclass
class FakeServer:
    """What is used of a :class:`~thunderhead_agent.processes.ForkServer`.

    Attributes:
        rounds: the workers started, by round; ``boards``: what each found on its board, before it began.
        may_start: workers are not there before it is set.
    """

    script: Script
    rounds: list[list[FakeWorker]] = field(default_factory=list)
    stores: list[int] = field(default_factory=list)
    may_start: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.pids = linux.children()  # of the tests' own: they are nobody's orphans
        self.may_start.set()

    def start_store(self, listener: socket.socket) -> Any:
        self.stores.append(listener.getsockname()[1])
        sentinel, self._store_life = os.pipe()
        return SimpleNamespace(sentinel=sentinel)

    def end_store(self) -> None:
        os.close(self._store_life)

    def start_workers(self, plans: Sequence[WorkerPlan], logs: object) -> list[FakeWorker]:
        self.asked.set()
        self.may_start.wait()
        workers = [FakeWorker(plan) for plan in plans]
        self.rounds.append(workers)
        for worker in workers:
            board = Board.attach(worker.plan.board)
            ending = self.script(worker.plan, board)
            if ending is not None:
                board.publish_outcome(ending.to_json())
                worker.end(0)
        return workers


@dataclass
class FakeLogs:
    """Keeps what an agent says."""

    said: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.said.append(line)


def settings_of(directory: Path, job: FrozenJob, node_rank: int, port: int) -> Settings:
    """Settings of a node whose agents meet on loopback and whose boards lie in ``directory``."""
    job_file, key_file = directory / "job.json", directory / "key"
    job_file.write_text(job.model_dump_json(by_alias=True))
    key_file.write_text("ab" * 32)
    settings = read_settings(
        {
            Env.JOB_FILE: str(job_file),
            Env.KEY_FILE: str(key_file),
            Env.NODE_RANK: str(node_rank),
            Env.RENDEZVOUS_HOST: "127.0.0.1",
            Env.RENDEZVOUS_PORT: str(port),
            Env.AGENT_HOST: "127.0.0.1",
            Env.RUN_DIR: str(directory),
        }
    )
    return replace(settings, board_dir=directory)
