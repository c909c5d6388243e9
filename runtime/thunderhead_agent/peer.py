"""The other nodes' side of the group: find node 0, meet, report, and hear the verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from thunderhead_agent import sealed, wire
from thunderhead_agent.addresses import backoff, candidates, keep_alive
from thunderhead_agent.door import Stranger
from thunderhead_agent.sealed import Line, Role, Secret, Who
from thunderhead_agent.session import Meeting
from thunderhead_agent.store_lines import StoreForwarder
from thunderhead_agent.verdict import choose, lost_agent
from thunderhead_agent.wire import Failure, Go, Hello, Refused, Verdict
from thunderhead_api.messages import Message, RankStatus
from thunderhead_api.treaty import Outcome

CONNECT_TIMEOUT_SECONDS = 5.0
MAX_BUFFERED_BYTES = 1024 * 1024
"""Reports beyond this are dropped while node 0 does not read; the next one says more anyway."""


class PeerSession:
    """Node k's connection to node 0; same contract as :class:`~thunderhead_agent.session.Session`.

    Args:
        name_of_node_0: its pod, for the verdict that this node must speak alone when node 0 is gone.
        read_resolv_conf: returns the text of ``/etc/resolv.conf``.
    """

    def __init__(
        self,
        me: Hello,
        secret: Secret,
        host: str,
        port: int,
        *,
        name_of_node_0: str,
        read_resolv_conf: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self._me = me
        self._secret = secret
        self._host = host
        self._port = port
        self._name_of_node_0 = name_of_node_0
        self._read_resolv_conf = read_resolv_conf
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._go: asyncio.Future[Go] = self._loop.create_future()
        self._line: Line | None = None
        self._forwarder = StoreForwarder(self._dial_for_store, say)
        self._own: list[Failure] = []
        self._said = ""
        self._name = host
        self._task: asyncio.Task[None] | None = None
        self.verdict: asyncio.Future[Verdict] = self._loop.create_future()
        self.missing: list[int] = []
        self.others: list[tuple[float, list[RankStatus]]] = []

    def start(self) -> None:
        """Begin to look for node 0."""
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def meet(self) -> Meeting:
        """Wait until node 0 has heard all nodes."""
        go = await self._go
        return Meeting(go.round, await self._forwarder.open())

    def report(self, ranks: Sequence[RankStatus]) -> None:
        """Send this node's ranks to node 0, unless it has stopped reading."""
        if self._line is not None and self._line.unsent < MAX_BUFFERED_BYTES:
            self._send(wire.Report(ranks=list(ranks)))

    def fail(self, failure: Failure) -> None:
        """Report a failed worker."""
        self._own.append(failure)
        self._send(wire.Failed(failure=failure))

    def finish(self, outcome: Outcome) -> None:
        """Report that all workers ended well."""
        self._send(wire.Finished(outcome=outcome))

    def withdraw(self) -> None:
        """Tell node 0, if it is there; without it this node just ends as stopped."""
        if self._line is None:
            self._conclude(Verdict(outcome=Outcome.STOPPED))
        else:
            self._send(wire.Withdraw())

    def conclude(self) -> None:
        """Node 0 does not answer: judge by what failed here."""
        if self._own:
            found = choose(self._own)
            self._conclude(Verdict(outcome=found.outcome, culprit=found.culprit))

    async def close(self) -> None:
        """Hang up."""
        if self._task is not None:
            self._task.cancel()
        self._hang_up()
        await self._forwarder.close()
        await asyncio.sleep(0)  # the loop closes the socket in its next turn

    def _send(self, message: Message) -> None:
        if self._line is not None and not self._line.is_closing:
            self._line.send(wire.encode(message))

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.verdict.done():
            self.verdict.set_exception(error)

    def _say_once(self, line: str) -> None:
        """Tries are many and their troubles mostly the same."""
        if line != self._said:
            self._said = line
            self._say(line)

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _conclude(self, verdict: Verdict) -> None:
        if not self.verdict.done():
            self.verdict.set_result(verdict)

    async def _run(self) -> None:
        pauses = backoff()
        while not self.verdict.done():
            line = await self._connect()
            if line is None:
                await asyncio.sleep(next(pauses))
                continue
            await self._listen(line)
            self._hang_up()
            if self._go.done():
                self._conclude(self._without_node_0("its connection ended before a verdict"))
            else:
                await asyncio.sleep(next(pauses))

    async def _connect(self) -> Line | None:
        """Each name of node 0 once; ``None`` while it cannot be reached (its pod may not exist yet)."""
        for name in candidates(self._host, self._read_resolv_conf()):
            try:
                line = await self._dial(name, Role.CONTROL)
            except (OSError, UnicodeError, Stranger) as error:
                self._say_once(f"cannot reach node 0 at {self._host}, port {self._port}, yet: {_why(error)}")
                continue
            self._line, self._name = line, name
            self._send(self._me)
            return line
        return None

    async def _dial(self, name: str, role: Role) -> Line:
        who = Who(self._me.node_rank, role)
        line = await sealed.dial(name, self._port, self._secret, who, seconds=CONNECT_TIMEOUT_SECONDS)
        keep_alive(line.writer.get_extra_info("socket"))
        return line

    async def _dial_for_store(self) -> Line:
        return await self._dial(self._name, Role.STORE)

    async def _listen(self, line: Line) -> None:
        """Until the connection ends. A refusal may heal: another pod of our rank may be about to go."""
        try:
            while frame := await line.receive():
                message = wire.from_hub(frame)
                if isinstance(message, Verdict):
                    self._conclude(message)
                elif isinstance(message, Refused):
                    self._say_once(f"node 0 refused us: {message.reason}")
                elif not self._go.done():
                    self._go.set_result(message)
        except (OSError, ValueError, EOFError) as error:
            self._say(f"lost node 0: {error}")

    def _without_node_0(self, detail: str) -> Verdict:
        """Node 0 can no longer judge: a cause of our own stands, else it is the suspect."""
        lost = lost_agent(0, self._name_of_node_0, None, detail)
        found = choose([*self._own, lost])
        return Verdict(outcome=found.outcome, culprit=found.culprit)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_SECONDS:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
