"""Node 0's side of the group: hears every agent, lets the workers start together, and speaks the verdict."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from thunderhead_agent import sealed, wire
from thunderhead_agent.addresses import keep_alive
from thunderhead_agent.door import Door, Tally
from thunderhead_agent.sealed import INTRODUCTION_SECONDS, Line, Role, Secret, Who
from thunderhead_agent.session import Meeting
from thunderhead_agent.store_lines import MAX_LINES, carry_to_store
from thunderhead_agent.verdict import Tribunal, choose, lost_agent
from thunderhead_agent.wire import Failure, Go, Hello, Refused, Verdict
from thunderhead_api.messages import RankStatus
from thunderhead_api.treaty import TREATY_VERSION, Outcome

FAREWELL_SECONDS = 3.0
STRANGERS = 256
"""Connections at once that have not been introduced yet; and of one address:"""
STRANGERS_OF_ONE = 64


@dataclass(slots=True)
class _Peer:
    hello: Hello
    line: Line


class Hub:
    """The meeting place that node 0's agent offers on the rendezvous port.

    Args:
        secret: what the nodes of this attempt share; None where there is but one.
        number: of the round; a peer that has come for another one is refused.
        start_store: starts the workers' store and returns its port; awaited by :meth:`meet`.
        say: for one line per event.
    """

    def __init__(
        self,
        nodes: int,
        secret: Secret | None,
        *,
        number: int = 0,
        start_store: Callable[[], Awaitable[int]],
        say: Callable[[str], None],
    ) -> None:
        self._nodes = nodes
        self._secret = secret
        self._number = number
        self._start_store = start_store
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._tribunal = Tribunal(nodes)
        self._peers: dict[int, _Peer] = {}
        self._everyone = asyncio.Event()
        self._empty = asyncio.Event()
        self._tally = Tally(say)
        self._tasks: set[asyncio.Task[None]] = set()
        self._store_port = 0
        self._store_lines: Counter[int] = Counter()
        if nodes == 1:
            self._everyone.set()
        self._timer: asyncio.TimerHandle | None = None
        self._go: Go | None = None
        self.verdict: asyncio.Future[Verdict] = self._loop.create_future()
        self._reports: dict[int, tuple[float, list[RankStatus]]] = {}

    def serve(self, listener: socket.socket) -> None:
        """Open the door."""
        door = Door(
            listener=listener,
            receive=self._receive,
            seconds=INTRODUCTION_SECONDS,
            total=STRANGERS,
            per_address=STRANGERS_OF_ONE,
            turned_away=self._tally,
        )
        self._spawn(door.stand_open())

    @property
    def missing(self) -> list[int]:
        """Nodes that have not come yet."""
        return [node for node in range(1, self._nodes) if node not in self._peers]

    async def meet(self) -> Meeting:
        """Wait for every node, start the store, and send everyone to work."""
        await self._everyone.wait()
        self._store_port = await self._start_store()
        # Starting the store takes seconds; a node that left meanwhile may come again.
        while self.missing:
            await self._everyone.wait()
        self._go = Go(round=self._number)
        self._broadcast(self._go)
        return Meeting(self._go.round, self._store_port)

    @property
    def others(self) -> list[tuple[float, list[RankStatus]]]:
        """What the other nodes reported, each with its age in seconds: a node that falls silent grows old."""
        now = self._loop.time()
        return [(now - heard_at, ranks) for heard_at, ranks in self._reports.values()]

    def report(self, ranks: Sequence[RankStatus]) -> None:
        """Node 0 answers for its own ranks itself."""

    def fail(self, failure: Failure) -> None:
        """Order a failure after those that came before, and set the time of the verdict."""
        if self.verdict.done():
            return
        self._tribunal.fail(failure, self._loop.time())
        self._judge()

    def finish(self, outcome: Outcome) -> None:
        """Node 0's workers have ended well."""
        self._finished(0, outcome)

    def withdraw(self) -> None:
        """Stopped before the start: nobody begins."""
        if self._go is None:
            self._decide(Verdict(outcome=Outcome.STOPPED))

    def conclude(self) -> None:
        """Speak the verdict without waiting for more."""
        if self._tribunal.failures:
            found = choose(self._tribunal.failures)
            self._decide(Verdict(outcome=found.outcome, culprit=found.culprit))

    async def close(self) -> None:
        """Wait until the peers have read the verdict and left: closing first could reset their unread data."""
        if self._peers:
            try:
                await asyncio.wait_for(self._empty.wait(), FAREWELL_SECONDS)
            except TimeoutError:
                self._say(f"nodes {sorted(self._peers)} have not left {FAREWELL_SECONDS:g} s after the verdict")
        for peer in self._peers.values():
            peer.line.close()
        self._tally.tell()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def _finished(self, node_rank: int, outcome: Outcome) -> None:
        self._tribunal.finish(node_rank, outcome)
        self._judge()

    def _judge(self) -> None:
        """Speak the verdict if it is due, else look again when it will be."""
        now = self._loop.time()
        found = self._tribunal.verdict(now)
        if found is not None:
            self._decide(found)
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._tribunal.failures:
            # The clock of call_later may fire a little early; a hundredth more spares a second look.
            self._timer = self._loop.call_later(max(0.0, self._tribunal.due_at - now) + 0.01, self._judge)

    def _decide(self, verdict: Verdict) -> None:
        if self.verdict.done():
            return
        self.verdict.set_result(verdict)
        self._broadcast(verdict)

    def _broadcast(self, message: Go | Verdict) -> None:
        for peer in self._peers.values():
            peer.line.send(wire.encode(message))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """A fault of ours ends the attempt: nobody would meet at a door that has fallen shut."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.verdict.done():
            self.verdict.set_exception(error)

    async def _receive(self, sock: socket.socket, address: str) -> bool:
        """A guest at the door: one that knows the key is talked to for as long as it stays."""
        assert self._secret is not None, "a job of several nodes has a key"
        keep_alive(sock)
        who, agreed = await sealed.receive(sock, self._secret)
        self._spawn(self._attend(sock, who, agreed))
        return True

    async def _attend(self, sock: socket.socket, who: Who, agreed: sealed.Agreed) -> None:
        line = await sealed.accepted(sock, agreed)
        try:
            if who.role is Role.CONTROL:
                await self._talk(who, line)
            else:
                await self._carry(who, line)
        except (OSError, ValueError, EOFError) as error:
            self._say(f"dropped a connection of node {who.node_rank}: {error}")
        finally:
            line.close()

    async def _carry(self, who: Who, line: Line) -> None:
        """Traffic of a worker elsewhere with the store here."""
        if not self._store_port or self._store_lines[who.node_rank] >= MAX_LINES:
            return
        self._store_lines[who.node_rank] += 1
        try:
            await carry_to_store(line, self._store_port)
        finally:
            self._store_lines[who.node_rank] -= 1

    async def _talk(self, who: Who, line: Line) -> None:
        """One peer, from its hello until its connection ends."""
        async with asyncio.timeout(INTRODUCTION_SECONDS):
            hello = await self._admit(who, line)
        if hello is None:
            return
        try:
            await self._listen(hello, line)
        finally:
            self._lose(hello, line)

    async def _admit(self, who: Who, line: Line) -> Hello | None:
        frame = await line.receive()
        if not frame:
            return None
        hello = wire.from_peer(frame)
        reason = self._objection(who, hello)
        if reason is not None or not isinstance(hello, Hello):
            self._say(f"refused a peer: {reason}")
            line.send(wire.encode(Refused(reason=reason or "no hello")))
            await line.writer.drain()
            return None
        self._peers[hello.node_rank] = _Peer(hello, line)
        self._empty.clear()
        if self.verdict.done():
            line.send(wire.encode(self.verdict.result()))
        self._note_arrival()
        return hello

    def _objection(self, who: Who, hello: wire.FromPeer) -> str | None:
        """Why this peer is not one of ours, although it knows the key; ``None`` if it is."""
        if not isinstance(hello, Hello):
            return "the first message must be a hello"
        if hello.treaty != TREATY_VERSION:
            return f"treaty {hello.treaty} is not ours ({TREATY_VERSION})"
        if hello.node_rank != who.node_rank:
            return f"node rank {hello.node_rank} was introduced as {who.node_rank}"
        if not 0 < hello.node_rank < self._nodes:
            return f"node rank {hello.node_rank} is outside 1..{self._nodes - 1}"
        if hello.round != self._number:
            return f"node rank {hello.node_rank} comes for round {hello.round}, and this is round {self._number}"
        if hello.node_rank in self._peers:
            return f"node rank {hello.node_rank} is already here ({self._peers[hello.node_rank].hello.pod})"
        return None

    async def _listen(self, hello: Hello, line: Line) -> None:
        while frame := await line.receive():
            message = wire.from_peer(frame)
            if isinstance(message, wire.Report):
                own = [rank for rank in message.ranks if rank.node_rank == hello.node_rank]
                self._reports[hello.node_rank] = (self._loop.time(), own)
            elif isinstance(message, wire.Failed):
                self.fail(message.failure)
            elif isinstance(message, wire.Finished):
                self._finished(hello.node_rank, message.outcome)
            elif isinstance(message, wire.Withdraw):
                self.withdraw()

    def _lose(self, hello: Hello, line: Line) -> None:
        """A connection ended: before the start the node may come again, afterwards its agent is gone."""
        peer = self._peers.get(hello.node_rank)
        if peer is None or peer.line is not line:
            return
        del self._peers[hello.node_rank]
        if not self._peers:
            self._empty.set()
        if self.verdict.done():
            return
        if self._go is None:
            self._everyone.clear()
            self._say(f"node {hello.node_rank} ({hello.pod}) left before the start")
            return
        self.fail(lost_agent(hello.node_rank, hello.pod, hello.node, "its connection ended without a farewell"))

    def _note_arrival(self) -> None:
        if not self.missing:
            self._everyone.set()
