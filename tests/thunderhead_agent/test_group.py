"""Hub and peers over loopback: who is let in, who starts when, what everyone hears at the end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from thunderhead_agent import sealed, wire
from thunderhead_agent.addresses import listen
from thunderhead_agent.hub import Hub
from thunderhead_agent.peer import PeerSession
from thunderhead_agent.sealed import Line, Role, Secret, Who
from thunderhead_agent.verdict import CAUSE, SYMPTOM
from thunderhead_agent.wire import Failure, Hello, Verdict
from thunderhead_api.messages import Culprit, RankStatus
from thunderhead_api.treaty import Outcome

LIMIT_SECONDS = 30.0
OURS = Secret(bytes(range(32)), "u-1", 3)


def identity(node_rank: int, *, treaty: int = 1, number: int = 0) -> Hello:
    return Hello(treaty=treaty, round=number, node_rank=node_rank, pod=f"digits-3-{node_rank}")


def a_failure(rank: int, node_rank: int, weight: int = CAUSE) -> Failure:
    return Failure(outcome=Outcome.FAILED, weight=weight, culprit=Culprit(rank=rank, node_rank=node_rank))


class Group:
    """A hub on a free port of loopback, and peers that know it."""

    def __init__(self, nodes: int, number: int = 0) -> None:
        self.said: list[str] = []
        self.stores_started = 0
        self.store_may_start = asyncio.Event()
        self.store_may_start.set()
        self.hub = Hub(nodes, OURS, number=number, start_store=self._start_store, say=self.said.append)
        self.port = 0
        self._peers: list[PeerSession] = []

    async def _start_store(self) -> int:
        self.stores_started += 1
        await self.store_may_start.wait()
        return 4321

    async def open(self) -> None:
        listener = listen("127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        self.hub.serve(listener)

    def peer(self, me: Hello, *, names: Callable[[], str] = lambda: "") -> PeerSession:
        session = PeerSession(
            me, OURS, "127.0.0.1", self.port, name_of_node_0="digits-3-0", read_resolv_conf=names, say=self.said.append
        )
        self._peers.append(session)
        session.start()
        return session

    async def dial(self, node_rank: int, secret: Secret = OURS, role: Role = Role.CONTROL) -> Line:
        return await sealed.dial("127.0.0.1", self.port, secret, Who(node_rank, role), seconds=LIMIT_SECONDS)

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()
        await self.hub.close()


@asynccontextmanager
async def group(nodes: int) -> AsyncIterator[Group]:
    async with asyncio.timeout(LIMIT_SECONDS):
        made = Group(nodes)
        await made.open()
        yield made
        await made.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something that another task does has happened."""
    for _ in itertools.count():
        if condition():
            return
        await asyncio.sleep(0.001)


async def test_nobody_starts_before_all_are_here() -> None:
    async with group(3) as g:
        first = g.peer(identity(1))
        meetings = [asyncio.ensure_future(g.hub.meet()), asyncio.ensure_future(first.meet())]
        await until(lambda: g.hub.missing == [2])
        assert not any(meeting.done() for meeting in meetings)
        assert g.stores_started == 0
        second = g.peer(identity(2))
        gone = await asyncio.gather(*meetings, second.meet())
        assert gone[0].store_port == 4321
        assert len({met.store_port for met in gone}) == 3, "every node has a port of its own for the store"
        assert g.stores_started == 1


async def test_a_single_node_meets_itself() -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        g = Group(1)
        assert (await g.hub.meet()).store_port == 4321
        g.hub.finish(Outcome.DONE)
        assert await g.hub.verdict == Verdict(outcome=Outcome.DONE)
        await g.hub.close()


async def test_a_peer_that_comes_first_waits_for_the_hub() -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        g = Group(2)
        probe = listen("127.0.0.1", 0)
        g.port = probe.getsockname()[1]
        probe.close()
        peer = g.peer(identity(1))
        await until(lambda: len(g.said) > 0)
        assert g.said == [f"cannot reach node 0 at 127.0.0.1, port {g.port}, yet: {g.said[0].rpartition(': ')[2]}"]
        await g.open()
        await asyncio.gather(g.hub.meet(), peer.meet())
        await g.close()


@pytest.mark.parametrize(
    ("stranger", "reason"),
    [
        (identity(1, treaty=99), "treaty 99 is not ours (1)"),
        (identity(1, number=1), "node rank 1 comes for round 1, and this is round 0"),
        (identity(0), "node rank 0 is outside 1..2"),
        (identity(3), "node rank 3 is outside 1..2"),
        (wire.Report(ranks=[]), "the first message must be a hello"),
    ],
)
async def test_whoever_has_the_key_and_does_not_fit_is_told_why(stranger: wire.FromPeer, reason: str) -> None:
    async with group(3) as g:
        line = await g.dial(stranger.node_rank if isinstance(stranger, Hello) else 1)
        line.send(wire.encode(stranger))
        answer = wire.from_hub(await line.receive())
        assert isinstance(answer, wire.Refused)
        assert answer.reason == reason
        assert g.hub.missing == [1, 2]
        line.close()


async def test_who_comes_for_the_next_round_before_the_last_one_is_over_waits_for_it() -> None:
    async with group(2) as last:
        early = last.peer(identity(1, number=1))
        await until(lambda: any("comes for round 1" in line for line in last.said))
        await last.hub.close()
        following = Group(2, number=1)
        following.port = last.port
        await following.open()
        met = await asyncio.gather(following.hub.meet(), early.meet())
        assert [meeting.round for meeting in met] == [1, 1]
        await early.close()
        await following.close()


async def test_a_node_is_who_it_was_introduced_as() -> None:
    async with group(3) as g:
        line = await g.dial(1)
        line.send(wire.encode(identity(2)))
        answer = wire.from_hub(await line.receive())
        assert answer == wire.Refused(reason="node rank 2 was introduced as 1")
        line.close()


async def test_a_second_pod_of_the_same_rank_is_refused_and_the_first_stays() -> None:
    async with group(3) as g:
        g.peer(identity(1))
        await until(lambda: g.hub.missing == [2])
        g.peer(identity(1))
        await until(lambda: any("already here" in line for line in g.said))
        assert g.hub.missing == [2]


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"type":"hello","uid":"u-1","attempt":3,"nodeRank":1,"pod":"digits-3-1"}\n',
        b"\n",
        b"\xff" * 1_000_000,
    ],
)
async def test_noise_on_the_port_disturbs_nobody(noise: bytes) -> None:
    async with group(2) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
        writer.write(noise)
        writer.write_eof()
        with suppress(ConnectionResetError):
            assert len(await reader.read()) == sealed.CHALLENGE_BYTES, "not a word more than the challenge"
        writer.close()
        peer = g.peer(identity(1))
        await asyncio.gather(g.hub.meet(), peer.meet())


async def test_a_node_that_leaves_before_the_start_may_come_again() -> None:
    async with group(2) as g:
        g.store_may_start.clear()
        meeting = asyncio.ensure_future(g.hub.meet())
        first = g.peer(identity(1))
        await until(lambda: g.stores_started == 1)
        await first.close()
        await until(lambda: g.hub.missing == [1])
        g.store_may_start.set()
        await asyncio.sleep(0.02)
        assert not meeting.done()
        again = g.peer(identity(1))
        await asyncio.gather(meeting, again.meet())
        assert g.stores_started == 1
        assert not g.hub.verdict.done()


async def started(g: Group, *ranks: int) -> list[PeerSession]:
    peers = [g.peer(identity(rank)) for rank in ranks]
    await asyncio.gather(g.hub.meet(), *(peer.meet() for peer in peers))
    return peers


async def test_everyone_hears_the_same_verdict() -> None:
    async with group(3) as g:
        one, two = await started(g, 1, 2)
        two.fail(a_failure(4, 2, SYMPTOM))
        one.fail(a_failure(2, 1))
        g.hub.fail(a_failure(0, 0, SYMPTOM))
        verdicts = await asyncio.gather(g.hub.verdict, one.verdict, two.verdict)
        assert {v.culprit.rank for v in verdicts if v.culprit is not None} == {2}
        assert len(set(verdicts)) == 1


async def test_an_agent_that_vanishes_is_the_suspect() -> None:
    async with group(3) as g:
        one, two = await started(g, 1, 2)
        await one.close()
        two.fail(a_failure(4, 2, SYMPTOM))
        verdict = await two.verdict
        assert verdict.culprit is not None
        assert (verdict.culprit.node_rank, verdict.culprit.pod) == (1, "digits-3-1")
        assert (verdict.culprit.reason, verdict.culprit.rank) == ("AgentLost", None)


async def test_without_node_0_a_peer_suspects_it() -> None:
    async with group(2) as g:
        (peer,) = await started(g, 1)
        peer.fail(a_failure(2, 1, SYMPTOM))
        next(iter(g.hub._peers.values())).line.writer.transport.abort()  # as the kernel does when node 0 is killed
        verdict = await peer.verdict
        assert verdict.culprit is not None
        assert (verdict.culprit.node_rank, verdict.culprit.reason) == (0, "AgentLost")


async def test_without_node_0_a_cause_of_our_own_stands() -> None:
    async with group(2) as g:
        (peer,) = await started(g, 1)
        link = next(iter(g.hub._peers.values()))
        link.line.writer.transport.abort()
        peer.fail(a_failure(2, 1))
        verdict = await peer.verdict
        assert verdict.culprit == Culprit(rank=2, node_rank=1)


async def test_stopped_before_the_start_stops_all() -> None:
    async with group(3) as g:
        one = g.peer(identity(1))
        await until(lambda: g.hub.missing == [2])
        one.withdraw()
        assert await one.verdict == await g.hub.verdict == Verdict(outcome=Outcome.STOPPED)
        late = g.peer(identity(2))
        assert await late.verdict == Verdict(outcome=Outcome.STOPPED)


async def test_stopped_alone_before_anyone_answers() -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        g = Group(2)
        g.port = 1  # nobody listens there
        peer = g.peer(identity(1))
        peer.withdraw()
        assert await peer.verdict == Verdict(outcome=Outcome.STOPPED)
        await peer.close()


async def test_a_stop_that_comes_with_the_start_is_left_to_the_workers() -> None:
    async with group(2) as g:
        (peer,) = await started(g, 1)
        peer.withdraw()
        peer.finish(Outcome.STOPPED)
        g.hub.finish(Outcome.STOPPED)
        assert await peer.verdict == Verdict(outcome=Outcome.STOPPED)


async def test_node_0_knows_what_the_other_ranks_do_and_how_old_that_is() -> None:
    async with group(2) as g:
        (peer,) = await started(g, 1)
        peer.report([RankStatus(rank=2, node_rank=1, phase="Train", step=7, age_seconds=0.5, step_seconds=0.1)])
        await until(lambda: bool(g.hub.others))
        ((age_s, (told,)),) = g.hub.others
        assert (told.rank, told.step) == (2, 7)
        await until(lambda: g.hub.others[0][0] > age_s + 0.01)


async def test_a_fault_in_the_conversation_does_not_go_unnoticed() -> None:
    async with group(2) as g:
        peer = g.peer(identity(1), names=lambda: 1 // 0)  # type: ignore[arg-type, return-value]  # any bug of ours
        with pytest.raises(ZeroDivisionError):
            await peer.verdict


async def test_a_verdict_can_be_forced_when_nobody_else_answers() -> None:
    async with group(2) as g:
        (peer,) = await started(g, 1)
        peer.conclude()
        assert not peer.verdict.done()
        peer.fail(a_failure(3, 1, SYMPTOM))
        peer.conclude()
        assert (await peer.verdict).culprit == Culprit(rank=3, node_rank=1)
