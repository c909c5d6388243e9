"""One round of an attempt, seen from one node: the meeting, the workers and their boards, how they end, and why.

::

    meet all nodes                      (hub on node 0, peer elsewhere)
    start the workers, sample their boards ten times a second, report each second
    on a worker's end                   failure → node 0;  all ended well → node 0
    on the verdict                      kill what still runs
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from thunderhead.job.board import Board, Word
from thunderhead_agent import linux
from thunderhead_agent.ending import UNCAUGHT, Ending, Whereabouts, concluded, failure
from thunderhead_agent.group import open_session
from thunderhead_agent.logs import LogPump
from thunderhead_agent.plan import board_path, worker_plans
from thunderhead_agent.processes import ForkServer, WorkerProcess, wait_for_exits
from thunderhead_agent.reading import BoardWatch
from thunderhead_agent.session import Meeting
from thunderhead_agent.settings import Settings
from thunderhead_agent.snapshot import Snapshot
from thunderhead_agent.spending import Spending
from thunderhead_agent.threads import in_thread
from thunderhead_agent.verdict import CAUSE, ENDED_WELL, outcome_for
from thunderhead_agent.wire import Failure, Verdict
from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Outcome

HEADLINE_LIMIT = 200
EXIT_SECONDS = 10.0
"""How long a worker may take to leave after it has stated that it ended well."""
KILL_SECONDS = 3.0
ALONE_SECONDS = 15.0
"""How long to wait for node 0's verdict after a failure of our own."""


async def _first(verdict: asyncio.Future[Verdict], *tasks: asyncio.Task[None]) -> Verdict:
    """The verdict; or what went wrong in a task of ours, without which nobody would watch the workers."""
    running: set[asyncio.Future[Any]] = {verdict, *tasks}
    while not verdict.done():
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    return verdict.result()


class Round:
    """See the module's docstring. Made on the event loop, where all methods run; the door is open once it is made.

    Args:
        number: from 0 in each attempt.
        entry: what a worker runs (``module:function``).
        start_store: gives the port of the workers' store, which all rounds share: their keys lie apart.
        reached_step: the furthest that any execution before has come; steps up to it are repetitions.
        began_at: of ``time.monotonic()``: what is before it is no time of this round.
    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        server: ForkServer,
        logs: LogPump,
        *,
        entry: str,
        start_store: Callable[[], Awaitable[int]],
        say: Callable[[str], None],
        reached_step: int,
        began_at: float,
    ) -> None:
        self.number = number
        self._settings = settings
        self._forkserver = server
        self._logs = logs
        self._entry = entry
        self._say = say
        self._began_at = began_at
        self._boards = [Board.create(board_path(settings, number, i)) for i in range(settings.processes)]
        for board in self._boards:
            board.words[Word.REPEAT_UNTIL] = reached_step
        born = time.monotonic_ns()
        self._watches = [BoardWatch(settings.rank(i), board, born) for i, board in enumerate(self._boards)]
        self._starting: asyncio.Task[list[WorkerProcess]] | None = None
        self._workers: list[WorkerProcess] = []
        self._endings: dict[int, Ending] = {}
        self._ended_at: dict[int, float] = {}
        self._going = False
        self._spending = Spending()
        self._oom_kills = self._count_oom_kills()
        self._session = open_session(settings, number, start_store=start_store, say=say)

    @property
    def reached_step(self) -> int:
        """The furthest that this round or any execution before it has come."""
        return max(*(board.words[Word.STEP] for board in self._boards), self._boards[0].words[Word.REPEAT_UNTIL])

    async def run(self, heartbeat: asyncio.Task[None]) -> tuple[Outcome, Verdict]:
        """From the meeting to the verdict; returns it, and this node's outcome. No worker is left running.

        Raises:
            Exception: what has ended ``heartbeat``.
        """
        going = asyncio.get_running_loop().create_task(self._begin())
        verdict = await _first(self._session.verdict, heartbeat, going)
        outcome = outcome_for(verdict, self._settings.node_rank, [e.outcome for e in self._endings.values()])
        self._say(_verdict_line(outcome, verdict))
        going.cancel()
        await self._end_workers()
        return outcome, verdict

    def look(self, *, stopping: bool, uptime_s: float) -> Snapshot:
        """Sample the boards."""
        now_ns, unix = time.monotonic_ns(), time.time()
        started = bool(self._workers)
        readings = [watch.read(monotonic_ns=now_ns, unix_s=unix) for watch in self._watches]
        return Snapshot(
            job=self._settings.job,
            node_rank=self._settings.node_rank,
            round=self.number,
            readings=readings,
            others=self._session.others,
            missing_nodes=self._session.missing if not self._going else [],
            started=started,
            stopping=stopping,
            metrics=self._watches[0].metrics(),
            taken_at=unix,
            uptime_s=uptime_s,
            spent=self._spending.look(readings[0] if started else None, time.monotonic() - self._began_at),
        )

    def notice_ends(self) -> None:
        """A worker states its end before it leaves; a failure is passed on at once, leaving has a time limit."""
        for worker in self._workers:
            rank = worker.plan.rank
            if rank not in self._endings:
                if self._boards[worker.plan.local_rank].outcome() is not None:
                    self._conclude(worker, None)
            elif worker.exit_code is None and time.monotonic() - self._ended_at[rank] > EXIT_SECONDS:
                self._say(f"rank {rank} has ended but does not leave; killing it")
                worker.kill()

    def report(self, snapshot: Snapshot) -> None:
        """Tell node 0 what this node's ranks are doing."""
        if snapshot.started:
            self._session.report([reading.status(self._settings.node_rank) for reading in snapshot.readings])

    def stop(self) -> None:
        """Have the ranks agree on a step to stop at; before the workers start, nobody begins."""
        for board in self._boards:
            board.words[Word.STOP] = 1
        if not self._going:
            self._session.withdraw()

    def give_up(self, patience: float) -> None:
        """The ranks had their time to stop."""
        if self._session.verdict.done():
            return
        late = [w.plan.rank for w in self._workers if w.plan.rank not in self._endings]
        self.fail("GracePeriodExceeded", f"ranks {late} had not stopped {patience:g} s after being asked to")
        self._session.conclude()

    def fail(self, reason: str, message: str) -> None:
        """A failure of this pod that no rank is to blame for; its lowest rank stands for the node."""
        if self._session.verdict.done():
            return
        culprit = Culprit(
            rank=self._settings.rank(0),
            node_rank=self._settings.node_rank,
            pod=self._settings.pod,
            node=self._settings.node,
            exit_code=UNCAUGHT,
            reason=reason,
            message=message,
            step=max(0, self._boards[0].words[Word.STEP]),
        )
        self._report_failure(Failure(outcome=Outcome.FAILED, weight=CAUSE, culprit=culprit))

    async def close(self) -> None:
        """Take leave of the other nodes and remove the boards."""
        await self._session.close()
        for board in self._boards:
            board.path.unlink(missing_ok=True)

    async def make_way(self) -> None:
        """Leave nothing to the next round, not even workers that were still being started when the verdict came."""
        if self._starting is not None and not self._workers:
            with suppress(OSError, EOFError):
                self._workers = await self._starting
            await self._end_workers()
        await self.close()

    async def _begin(self) -> None:
        """Meet, start the workers, and listen for their ends."""
        nodes = self._settings.job.nodes
        self._say(f"waiting for {nodes} nodes" if nodes > 1 else "starting")
        try:
            met = await self._session.meet()
            self._going = True
            self._say(f"all nodes are here; starting {self._settings.processes} workers")
            await self._start_workers(met)
        except (OSError, EOFError) as error:
            self.fail("WorkersNotStarted", f"workers could not be started: {error}")

    async def _start_workers(self, met: Meeting) -> None:
        plans = worker_plans(self._settings, met, self._entry)
        loop = asyncio.get_running_loop()
        self._starting = loop.create_task(in_thread(lambda: self._forkserver.start_workers(plans, self._logs)))
        await asyncio.wait([self._starting])  # which goes on if we are cancelled: see make_way
        self._workers = self._starting.result()
        for worker in self._workers:
            loop.add_reader(worker.process.sentinel, self._worker_gone, worker)
        if self._session.verdict.done():
            await self._end_workers()

    def _worker_gone(self, worker: WorkerProcess) -> None:
        asyncio.get_running_loop().remove_reader(worker.process.sentinel)
        self._conclude(worker, worker.exit_code)
        self._finish_if_all_ended()

    def _conclude(self, worker: WorkerProcess, exit_code: int | None) -> None:
        """Note how a worker ended, once, and report it if it failed."""
        rank, board = worker.plan.rank, self._boards[worker.plan.local_rank]
        if rank in self._endings or self._session.verdict.done():
            return
        stated = board.outcome()
        ending = concluded(
            Ending.from_json(stated) if stated is not None else None,
            exit_code,
            out_of_memory=self._count_oom_kills() > self._oom_kills,
            step=board.words[Word.STEP],
        )
        self._endings[rank] = ending
        self._ended_at[rank] = time.monotonic()
        self._say(
            f"rank {rank} {'lost its peers' if ending.symptom else f'ended: {ending.outcome}'}" + _told(ending.message)
        )
        if ending.outcome not in ENDED_WELL:
            where = Whereabouts(
                rank=rank, node_rank=self._settings.node_rank, pod=self._settings.pod, node=self._settings.node
            )
            self._report_failure(failure(ending, exit_code, where))

    def _finish_if_all_ended(self) -> None:
        outcomes = [ending.outcome for ending in self._endings.values()]
        left = all(worker.exit_code is not None for worker in self._workers)
        if len(outcomes) == self._settings.processes and left and all(o in ENDED_WELL for o in outcomes):
            self._session.finish(Outcome.STOPPED if Outcome.STOPPED in outcomes else Outcome.DONE)

    def _report_failure(self, found: Failure) -> None:
        self._session.fail(found)
        asyncio.get_running_loop().call_later(ALONE_SECONDS, self._session.conclude)

    async def _end_workers(self) -> None:
        """Kill what still runs and wait a moment for it to be gone, so that its last lines are read.

        What a dead rank had started in sessions of its own has become our child by then.
        """
        for worker in self._workers:
            if worker.exit_code is None:
                worker.kill()
        running = [worker.process.sentinel for worker in self._workers if worker.exit_code is None]
        await in_thread(lambda: wait_for_exits(running, KILL_SECONDS))
        linux.kill_children(except_for=self._forkserver.pids | {worker.pid for worker in self._workers})

    def _count_oom_kills(self) -> int:
        with open("/proc/self/cgroup") as own:
            return linux.oom_kills(self._settings.cgroup_dir, own.read())


def _verdict_line(outcome: Outcome, verdict: Verdict) -> str:
    culprit = verdict.culprit
    if culprit is None:
        return f"ended: {outcome}"
    who = f"rank {culprit.rank}" if culprit.rank is not None else "the agent"
    where = f"node {culprit.node_rank} ({culprit.pod})"
    return f"ended: {outcome}; culprit {who} on {where}: {culprit.reason}{_told(culprit.message)}"


def _told(message: str | None) -> str:
    """The first line of a message, bounded: the log of the rank has all of it."""
    headline = (message or "").split("\n", 1)[0]
    return f", {headline[:HEADLINE_LIMIT]}" if headline else ""
