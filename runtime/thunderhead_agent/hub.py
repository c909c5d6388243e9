"""Node 0's side of the group: hears every agent, lets the workers start together, and speaks the verdict."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from thunderhead_agent import wire
from thunderhead_agent.addresses import keep_alive, plain_address
from thunderhead_agent.verdict import Tribunal, choose, lost_agent
from thunderhead_agent.wire import Failure, Go, Hello, Refused, Verdict
from thunderhead_api.messages import RankStatus
from thunderhead_api.treaty import Outcome

FAREWELL_SECONDS = 3.0


@dataclass(slots=True)
class _Peer:
    hello: Hello
    writer: asyncio.StreamWriter


class Hub:
    """The meeting place that node 0's agent offers on the rendezvous port.

    Args:
        me: node 0's own identity; a peer of another job or attempt is refused.
        start_store: starts the workers' store and returns its port; awaited by :meth:`meet`.
        say: for one line per event.
    """

    def __init__(
        self, me: Hello, nodes: int, *, start_store: Callable[[], Awaitable[int]], say: Callable[[str], None]
    ) -> None:
        self._me = me
        self._nodes = nodes
        self._start_store = start_store
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._tribunal = Tribunal(nodes)
        self._peers: dict[int, _Peer] = {}
        self._everyone = asyncio.Event()
        self._empty = asyncio.Event()
        self._server: asyncio.Server | None = None
        if nodes == 1:
            self._everyone.set()
        self._timer: asyncio.TimerHandle | None = None
        self._address = "127.0.0.1"
        self._go: Go | None = None
        self.verdict: asyncio.Future[Verdict] = self._loop.create_future()
        self._reports: dict[int, tuple[float, list[RankStatus]]] = {}

    async def serve(self, listener: socket.socket) -> None:
        """Open the door."""
        self._server = await asyncio.start_server(self._talk, sock=listener, limit=wire.MAX_LINE_BYTES)

    @property
    def missing(self) -> list[int]:
        """Nodes that have not come yet."""
        return [node for node in range(1, self._nodes) if node not in self._peers]

    async def meet(self) -> Go:
        """Wait for every node, start the store, and send everyone to work."""
        await self._everyone.wait()
        port = await self._start_store()
        # Starting the store takes seconds; a node that left meanwhile may come again.
        while self.missing:
            await self._everyone.wait()
        self._go = Go(master_addr=self._address, master_port=port)
        self._broadcast(self._go)
        return self._go

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
            peer.writer.close()
        if self._server is not None:
            self._server.close()
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
            peer.writer.write(wire.encode(message))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One peer, from its hello until its connection ends."""
        try:
            keep_alive(writer.get_extra_info("socket"))
            hello = await self._admit(reader, writer)
            if hello is None:
                return
            try:
                await self._listen(hello, reader)
            finally:
                self._lose(hello, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            self._say(f"dropped a connection: {error}")
        finally:
            writer.close()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Hello | None:
        line = await reader.readline()
        if not line:
            return None
        hello = wire.from_peer(line)
        reason = self._objection(hello)
        if reason is not None or not isinstance(hello, Hello):
            self._say(f"refused a peer: {reason}")
            writer.write(wire.encode(Refused(reason=reason or "no hello")))
            await writer.drain()
            return None
        self._address = plain_address(writer.get_extra_info("sockname")[0])
        self._peers[hello.node_rank] = _Peer(hello, writer)
        self._empty.clear()
        if self.verdict.done():
            writer.write(wire.encode(self.verdict.result()))
        self._note_arrival()
        return hello

    def _objection(self, hello: wire.FromPeer) -> str | None:
        """Why this peer is not one of ours; ``None`` if it is."""
        if not isinstance(hello, Hello):
            return "the first message must be a hello"
        for name in ("treaty", "uid", "attempt"):
            theirs, ours = getattr(hello, name), getattr(self._me, name)
            if theirs != ours:
                return f"{name} {theirs} is not ours ({ours})"
        if not 0 < hello.node_rank < self._nodes:
            return f"node rank {hello.node_rank} is outside 1..{self._nodes - 1}"
        if hello.node_rank in self._peers:
            return f"node rank {hello.node_rank} is already here ({self._peers[hello.node_rank].hello.pod})"
        return None

    async def _listen(self, hello: Hello, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            message = wire.from_peer(line)
            if isinstance(message, wire.Report):
                self._reports[hello.node_rank] = (self._loop.time(), message.ranks)
            elif isinstance(message, wire.Failed):
                self.fail(message.failure)
            elif isinstance(message, wire.Finished):
                self._finished(hello.node_rank, message.outcome)
            elif isinstance(message, wire.Withdraw):
                self.withdraw()

    def _lose(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        """A connection ended: before the start the node may come again, afterwards its agent is gone."""
        peer = self._peers.get(hello.node_rank)
        if peer is None or peer.writer is not writer:
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
