"""The agent: one attempt, seen from one pod, from its first second to its exit code.

::

    answer HTTP, warm the fork server
    meet all nodes                      (hub on node 0, peer elsewhere)
    start the workers, sample their boards ten times a second, report each second
    on a worker's end                   failure → node 0;  all ended well → node 0
    on SIGTERM                          STOP on every board: the ranks agree on a step, commit, end as Stopped
    on the verdict                      kill what still runs, write the record, leave with the treaty's exit code
"""

from __future__ import annotations

import asyncio
import multiprocessing.connection
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from thunderhead.job.board import Board, Word
from thunderhead_agent import linux
from thunderhead_agent.addresses import LOOPBACK, listen
from thunderhead_agent.early import STOP_SIGNALS, EarlySignals
from thunderhead_agent.ending import UNCAUGHT, Ending, Place, concluded, failure
from thunderhead_agent.hub import Hub
from thunderhead_agent.logs import LogPump
from thunderhead_agent.peer import PeerSession
from thunderhead_agent.plan import TRAIN, board_path, worker_plans
from thunderhead_agent.processes import ForkServer, WorkerProcess
from thunderhead_agent.reading import BoardWatch
from thunderhead_agent.sealed import Secret
from thunderhead_agent.session import Meeting, Session
from thunderhead_agent.settings import Settings
from thunderhead_agent.snapshot import Snapshot
from thunderhead_agent.spending import Spending
from thunderhead_agent.verdict import CAUSE, ENDED_WELL, outcome_for
from thunderhead_agent.wire import Failure, Hello, Verdict
from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Outcome

TICK_SECONDS = 0.1
HEADLINE_LIMIT = 200
REPORT_SECONDS = 1.0
EXIT_SECONDS = 10.0
"""How long a worker may take to leave after it has stated that it ended well."""
KILL_SECONDS = 3.0
ALONE_SECONDS = 15.0
"""How long to wait for node 0's verdict after a failure of our own."""
GRACE_MARGIN_SECONDS = 5.0
"""What of the grace period is kept for the verdict and the record."""

T = TypeVar("T")


async def _first(verdict: asyncio.Future[Verdict], *tasks: asyncio.Task[None]) -> Verdict:
    """The verdict; or what went wrong in a task of ours, without which nobody would watch the workers."""
    running: set[asyncio.Future[Any]] = {verdict, *tasks}
    while not verdict.done():
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    return verdict.result()


def _wait_all(sentinels: list[int], timeout_s: float) -> None:
    """Until every process is gone, or the time is over (one in uninterruptible sleep never goes)."""
    end = time.monotonic() + timeout_s
    while sentinels and (left := end - time.monotonic()) > 0:
        gone = multiprocessing.connection.wait(sentinels, left)
        sentinels = [s for s in sentinels if s not in gone]


class Agent:
    """See the module's docstring. All methods run on the event loop's thread."""

    def __init__(
        self, settings: Settings, server: ForkServer, logs: LogPump, *, entry: str = TRAIN, early: EarlySignals
    ) -> None:
        self._early = early
        self._settings = settings
        self._forkserver = server
        self._logs = logs
        self._entry = entry
        self._started_at = time.monotonic()
        self._boards = [Board.create(board_path(settings, i)) for i in range(settings.processes)]
        for board in self._boards:
            board.words[Word.REPEAT_UNTIL] = settings.job.reached_step
        born = time.monotonic_ns()
        self._watches = [BoardWatch(settings.rank(i), board, born) for i, board in enumerate(self._boards)]
        self._workers: list[WorkerProcess] = []
        self._endings: dict[int, Ending] = {}
        self._spending = Spending()
        self._ended_at: dict[int, float] = {}
        self._stopping = False
        self._going = False
        self._round = 0
        self._hub: Hub | None = None
        self._oom_kills = self._count_oom_kills()
        self._session: Session
        self.snapshot = Snapshot(job=settings.job, node_rank=settings.node_rank)

    async def run(self) -> tuple[Outcome, Verdict]:
        """Run the attempt; returns this node's outcome and the verdict. Nothing of ours is left running."""
        loop = asyncio.get_running_loop()
        self._session = self._open_session()
        # Nothing is awaited up to the end of the second loop, so every signal finds a session, and one of the handlers.
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._asked_to_stop, number)
        for caught in self._early.caught:
            self._asked_to_stop(caught)
        turning = loop.create_task(self._turn())
        going = loop.create_task(self._begin())
        verdict = await _first(self._session.verdict, turning, going)
        outcome = outcome_for(verdict, self._settings.node_rank, [e.outcome for e in self._endings.values()])
        self._say(_verdict_line(outcome, verdict))
        going.cancel()
        await self._end_workers()
        turning.cancel()
        self._sample()
        return outcome, verdict

    async def close(self) -> None:
        """Take leave of the other nodes and remove the boards."""
        await self._session.close()
        for board in self._boards:
            board.path.unlink(missing_ok=True)

    def _open_session(self) -> Session:
        settings, job = self._settings, self._settings.job
        secret = Secret(settings.key, job.uid, job.attempt) if settings.key is not None else None
        if settings.node_rank == 0:
            self._hub = Hub(job.nodes, secret, start_store=self._start_store, say=self._say)
            if job.nodes > 1:
                self._hub.serve(listen(settings.agent_host, settings.rendezvous_port))
            return self._hub
        assert secret is not None, "a job of several nodes has a key"
        peer = PeerSession(
            Hello(node_rank=settings.node_rank, pod=settings.pod, node=settings.node),
            secret,
            settings.rendezvous_host,
            settings.rendezvous_port,
            name_of_node_0=f"{settings.job.name}-{settings.job.attempt}-0",
            read_resolv_conf=_read_resolv_conf,
            say=self._say,
        )
        peer.start()
        return peer

    async def _start_store(self) -> int:
        listener = listen(LOOPBACK, 0)
        port: int = listener.getsockname()[1]
        process = await in_thread(lambda: self._forkserver.start_store(listener))
        listener.close()
        asyncio.get_running_loop().add_reader(process.sentinel, self._store_died, process.sentinel)
        return port

    def _store_died(self, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        if not self._session.verdict.done():
            self._fail_as_agent("StoreDied", "the process that serves the workers' store has died")

    async def _begin(self) -> None:
        """Meet, start the workers, and listen for their ends."""
        self._say(f"waiting for {self._settings.job.nodes} nodes" if self._settings.job.nodes > 1 else "starting")
        try:
            met = await self._session.meet()
            self._going, self._round = True, met.round
            self._say(f"all nodes are here; starting {self._settings.processes} workers")
            await self._start_workers(met)
        except (OSError, EOFError) as error:
            self._fail_as_agent("WorkersNotStarted", f"workers could not be started: {error}")

    async def _start_workers(self, met: Meeting) -> None:
        plans = worker_plans(self._settings, met, self._entry)
        self._workers = await in_thread(lambda: self._forkserver.start_workers(plans, self._logs))
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            loop.add_reader(worker.process.sentinel, self._worker_gone, worker)
        if self._session.verdict.done():
            await self._end_workers()

    def _worker_gone(self, worker: WorkerProcess) -> None:
        asyncio.get_running_loop().remove_reader(worker.process.sentinel)
        self._conclude(worker, worker.exit_code)
        self._finish_if_all_ended()

    async def _turn(self) -> None:
        """The heartbeat: sample, notice stated ends, reap; report each second."""
        reported_at = 0.0
        while True:
            self._sample()
            for worker in self._workers:
                self._look_at(worker)
            linux.reap_orphans(self._forkserver.pids)
            if time.monotonic() - reported_at >= REPORT_SECONDS:
                reported_at = time.monotonic()
                if self.snapshot.started:
                    self._session.report([r.status(self._settings.node_rank) for r in self.snapshot.readings])
            await asyncio.sleep(TICK_SECONDS)

    def _look_at(self, worker: WorkerProcess) -> None:
        """A worker states its end before it leaves; a failure is passed on at once, leaving has a time limit."""
        rank = worker.plan.rank
        if rank not in self._endings:
            stated = self._boards[worker.plan.local_rank].outcome()
            if stated is not None:
                self._conclude(worker, None)
        elif worker.exit_code is None and time.monotonic() - self._ended_at[rank] > EXIT_SECONDS:
            self._say(f"rank {rank} has ended but does not leave; killing it")
            worker.kill()

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
            place = Place(
                rank=rank, node_rank=self._settings.node_rank, pod=self._settings.pod, node=self._settings.node
            )
            self._fail(failure(ending, exit_code, place))

    def _finish_if_all_ended(self) -> None:
        outcomes = [ending.outcome for ending in self._endings.values()]
        left = all(worker.exit_code is not None for worker in self._workers)
        if len(outcomes) == self._settings.processes and left and all(o in ENDED_WELL for o in outcomes):
            self._session.finish(Outcome.STOPPED if Outcome.STOPPED in outcomes else Outcome.DONE)

    def _fail(self, found: Failure) -> None:
        self._session.fail(found)
        asyncio.get_running_loop().call_later(ALONE_SECONDS, self._session.conclude)

    def _fail_as_agent(self, reason: str, message: str) -> None:
        """A failure of this pod that no rank is to blame for; its lowest rank stands for the node."""
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
        self._fail(Failure(outcome=Outcome.FAILED, weight=CAUSE, culprit=culprit))

    def _asked_to_stop(self, number: int) -> None:
        """Hand the wish down; a second one changes nothing."""
        if self._stopping:
            return
        self._stopping = True
        margin = min(GRACE_MARGIN_SECONDS, self._settings.grace_seconds / 2)
        patience = self._settings.grace_seconds - margin
        self._say(f"asked to stop ({signal.Signals(number).name}); {patience:g} s for a last checkpoint")
        for board in self._boards:
            board.words[Word.STOP] = 1
        asyncio.get_running_loop().call_later(patience, self._grace_is_over, patience)
        if not self._going:
            self._session.withdraw()

    def _grace_is_over(self, patience: float) -> None:
        if self._session.verdict.done():
            return
        late = [w.plan.rank for w in self._workers if w.plan.rank not in self._endings]
        self._fail_as_agent("GracePeriodExceeded", f"ranks {late} had not stopped {patience:g} s after being asked to")
        self._session.conclude()

    async def _end_workers(self) -> None:
        """Kill what still runs and wait a moment for it to be gone, so that its last lines are read.

        What a dead rank had started in sessions of its own has become our child by then.
        """
        for worker in self._workers:
            if worker.exit_code is None:
                worker.kill()
        running = [worker.process.sentinel for worker in self._workers if worker.exit_code is None]
        await in_thread(lambda: _wait_all(running, KILL_SECONDS))
        linux.kill_children(except_for=self._forkserver.pids | {worker.pid for worker in self._workers})

    def _sample(self) -> None:
        now_ns, unix = time.monotonic_ns(), time.time()
        hub = self._hub
        started = bool(self._workers)
        readings = [watch.read(monotonic_ns=now_ns, unix_s=unix) for watch in self._watches]
        uptime_s = time.monotonic() - self._started_at
        self.snapshot = Snapshot(
            job=self._settings.job,
            node_rank=self._settings.node_rank,
            round=self._round,
            readings=readings,
            others=hub.others if hub is not None else [],
            missing_nodes=hub.missing if hub is not None and not self._going else [],
            started=started,
            stopping=self._stopping,
            metrics=self._watches[0].metrics(),
            taken_at=unix,
            uptime_s=uptime_s,
            spent=self._spending.look(readings[0] if started else None, uptime_s),
        )

    def _count_oom_kills(self) -> int:
        with open("/proc/self/cgroup") as own:
            return linux.oom_kills(self._settings.cgroup_dir, own.read())

    def _say(self, line: str) -> None:
        self._logs.say(f"[agent {self._settings.node_rank}] {line}")


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a daemon thread: unlike the loop's executor, it never keeps the process from leaving."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def body() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to the waiting coroutine
            loop.call_soon_threadsafe(settle, None, error)
        else:
            loop.call_soon_threadsafe(settle, result, None)

    threading.Thread(target=body, daemon=True).start()
    return await future


def _read_resolv_conf() -> str:
    try:
        with open("/etc/resolv.conf") as file:
            return file.read()
    except OSError:
        return ""


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
