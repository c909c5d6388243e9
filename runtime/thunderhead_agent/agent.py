"""The agent: one attempt, seen from one pod, from its first second to its exit code.

::

    answer HTTP, warm the fork server
    run a round                         (round: the meeting, the workers, the verdict)
    ten times a second                  look at the round, reap what nobody waits for; report each second
    on SIGTERM                          STOP for the round: the ranks agree on a step, commit, end as Stopped
    on the verdict                      write the record, leave with the treaty's exit code
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from thunderhead_agent import linux
from thunderhead_agent.addresses import LOOPBACK, listen
from thunderhead_agent.early import STOP_SIGNALS, EarlySignals
from thunderhead_agent.logs import LogPump
from thunderhead_agent.plan import TRAIN
from thunderhead_agent.processes import ForkServer
from thunderhead_agent.round import Round
from thunderhead_agent.settings import Settings
from thunderhead_agent.snapshot import Snapshot
from thunderhead_agent.threads import in_thread
from thunderhead_agent.wire import Verdict
from thunderhead_api.treaty import Outcome

TICK_SECONDS = 0.1
REPORT_SECONDS = 1.0
GRACE_MARGIN_SECONDS = 5.0
"""What of the grace period is kept for the verdict and the record."""

GoesOn = Callable[[int, Verdict], bool]
"""Whether another round follows the one of this number that ended so: the same answer on every node."""


def one_round(number: int, verdict: Verdict) -> bool:
    """An attempt is one round: what follows a failure is another attempt, which the operator begins."""
    return False


class Agent:
    """See the module's docstring. All methods run on the event loop's thread."""

    def __init__(
        self,
        settings: Settings,
        server: ForkServer,
        logs: LogPump,
        *,
        entry: str = TRAIN,
        early: EarlySignals,
        goes_on: GoesOn = one_round,
    ) -> None:
        self._early = early
        self._settings = settings
        self._forkserver = server
        self._logs = logs
        self._entry = entry
        self._goes_on = goes_on
        self._started_at = time.monotonic()
        self._store_port: int | None = None
        self._stopping = False
        self._round: Round
        self.snapshot = Snapshot(job=settings.job, node_rank=settings.node_rank)

    async def run(self) -> tuple[Outcome, Verdict]:
        """Run the attempt; returns this node's outcome and the verdict. No worker is left running."""
        loop = asyncio.get_running_loop()
        self._round = self._open(0, self._settings.job.reached_step, self._started_at)
        # Nothing is awaited up to the end of the second loop, so every signal finds a round, and one of the handlers.
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._asked_to_stop, number)
        for caught in self._early.caught:
            self._asked_to_stop(caught)
        turning = loop.create_task(self._turn())
        outcome, verdict = await self._round.run(turning)
        while not self._stopping and self._goes_on(self._round.number, verdict):
            await self._begin_another()
            outcome, verdict = await self._round.run(turning)
        turning.cancel()
        self._look()
        return outcome, verdict

    async def close(self) -> None:
        """Take leave of the other nodes."""
        await self._round.close()

    def _open(self, number: int, reached_step: int, began_at: float) -> Round:
        return Round(
            number,
            self._settings,
            self._forkserver,
            self._logs,
            entry=self._entry,
            start_store=self._store,
            say=self._say,
            reached_step=reached_step,
            began_at=began_at,
        )

    async def _begin_another(self) -> None:
        last = self._round
        await last.make_way()
        self._round = self._open(last.number + 1, last.reached_step, time.monotonic())
        self._say(f"beginning round {self._round.number}")
        if self._stopping:  # asked between the rounds, when there was nobody to stop
            self._round.stop()

    async def _store(self) -> int:
        """Port of the workers' store, which the first round starts and all rounds share."""
        if self._store_port is None:
            listener = listen(LOOPBACK, 0)
            port: int = listener.getsockname()[1]
            process = await in_thread(lambda: self._forkserver.start_store(listener))
            listener.close()
            asyncio.get_running_loop().add_reader(process.sentinel, self._store_died, process.sentinel)
            self._store_port = port
        return self._store_port

    def _store_died(self, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        self._store_port = None
        self._round.fail("StoreDied", "the process that serves the workers' store has died")

    async def _turn(self) -> None:
        """The heartbeat: sample, notice stated ends, reap; report each second."""
        reported_at = 0.0
        while True:
            self._look()
            self._round.notice_ends()
            linux.reap_orphans(self._forkserver.pids)
            if time.monotonic() - reported_at >= REPORT_SECONDS:
                reported_at = time.monotonic()
                self._round.report(self.snapshot)
            await asyncio.sleep(TICK_SECONDS)

    def _look(self) -> None:
        self.snapshot = self._round.look(stopping=self._stopping, uptime_s=time.monotonic() - self._started_at)

    def _asked_to_stop(self, number: int) -> None:
        """Hand the wish down; a second one changes nothing."""
        if self._stopping:
            return
        self._stopping = True
        margin = min(GRACE_MARGIN_SECONDS, self._settings.grace_seconds / 2)
        patience = self._settings.grace_seconds - margin
        self._say(f"asked to stop ({signal.Signals(number).name}); {patience:g} s for a last checkpoint")
        asyncio.get_running_loop().call_later(patience, self._grace_is_over, patience)
        self._round.stop()

    def _grace_is_over(self, patience: float) -> None:
        self._round.give_up(patience)

    def _say(self, line: str) -> None:
        self._logs.say(f"[agent {self._settings.node_rank}] {line}")
