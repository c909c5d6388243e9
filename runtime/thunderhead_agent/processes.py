"""The worker processes of this node: started from a warm fork server, watched by their sentinels, killed as groups."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess

from thunderhead_agent import linux
from thunderhead_agent.logs import LogPump
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.store_process import keep_store
from thunderhead_agent.worker import run_worker

PRELOAD = "thunderhead_agent.preload"


@dataclass(slots=True)
class WorkerProcess:
    """One worker. ``exit_code`` is ``None`` while it runs, negative for a signal."""

    plan: WorkerPlan
    process: ForkServerProcess

    @property
    def pid(self) -> int:
        """Process id, which is its process group's as well."""
        pid = self.process.pid
        assert pid is not None, "started"
        return pid

    @property
    def exit_code(self) -> int | None:
        """As multiprocessing reports it; 255 if the fork server died."""
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL for the whole group: the rank and its data loader workers."""
        for send in (os.killpg, os.kill):
            try:
                send(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def wait_for_exits(sentinels: list[int], timeout_s: float) -> None:
    """Until every process is gone, or the time is over (one in uninterruptible sleep never goes)."""
    end = time.monotonic() + timeout_s
    while sentinels and (left := end - time.monotonic()) > 0:
        gone = multiprocessing.connection.wait(sentinels, left)
        sentinels = [s for s in sentinels if s not in gone]


class ForkServer:
    """Owner of the fork server, which dies with the thread that starts it: call :meth:`warm` from the main thread."""

    def __init__(self) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.pids: set[int] = set()

    def warm(self) -> None:
        """Start it; it imports torch meanwhile (seconds), and forks within milliseconds afterwards."""
        os.environ[linux.AGENT_PID] = str(os.getpid())
        self._context.set_forkserver_preload([PRELOAD])
        forkserver.ensure_running()
        self.pids = linux.children()

    def start_store(self, listener: socket.socket) -> ForkServerProcess:
        """Start the process that serves the workers' TCPStore on ``listener``."""
        process = self._context.Process(target=keep_store, args=(listener,), name="store", daemon=True)
        process.start()
        return process

    def start_workers(self, plans: Sequence[WorkerPlan], logs: LogPump) -> list[WorkerProcess]:
        """Start all workers; blocks until the fork server is warm.

        Raises:
            OSError, EOFError: the fork server is gone.
        """
        return [self._start(plan, logs) for plan in plans]

    def _start(self, plan: WorkerPlan, logs: LogPump) -> WorkerProcess:
        reader: Connection
        writer: Connection
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=run_worker, args=(plan, writer), name=f"rank-{plan.rank}")
        process.start()
        writer.close()
        logs.add(os.dup(reader.fileno()), prefix=f"[rank {plan.rank}] ")
        reader.close()
        return WorkerProcess(plan, process)
