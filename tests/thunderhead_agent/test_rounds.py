"""Several rounds in one agent, with workers that are functions: what is a round's is made anew, what is not stays."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_workers import FakeLogs, FakeServer, Script, settings_of

from thunderhead.job.board import Board, Word
from thunderhead_agent.agent import Agent, GoesOn, one_round
from thunderhead_agent.early import STOP_SIGNALS, EarlySignals
from thunderhead_agent.ending import Ending
from thunderhead_agent.plan import WorkerPlan
from thunderhead_agent.wire import Verdict
from thunderhead_api.messages import FrozenJob
from thunderhead_api.treaty import Outcome

DONE = Ending(outcome=Outcome.DONE)
FAILED = Ending(outcome=Outcome.FAILED, reason="ValueError", message="the loss is a banana", exit_code=1)
ECHO = Ending(outcome=Outcome.FAILED, reason="RuntimeError", message="connection closed by peer", symptom=True)


@dataclass
class Node:
    agent: Agent
    server: FakeServer
    logs: FakeLogs


MakeNode = Callable[..., Node]


@pytest.fixture
def node(tmp_path: Path, make_job: Callable[..., FrozenJob]) -> Iterator[MakeNode]:
    """Makes agents of one attempt, on loopback; the process gets its own signal handlers back."""
    before = [(number, signal.getsignal(number)) for number in STOP_SIGNALS]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def make(script: Script, goes_on: GoesOn, *, node_rank: int = 0, nodes: int = 1) -> Node:
        directory = tmp_path / str(node_rank)
        directory.mkdir()
        settings = settings_of(directory, make_job(nodes=nodes, reached_step=3), node_rank, port)
        early = EarlySignals.__new__(EarlySignals)  # without its handlers: this process is pytest's
        early.caught = []
        server, logs = FakeServer(script), FakeLogs()
        agent = Agent(settings, server, logs, early=early, goes_on=goes_on)  # type: ignore[arg-type]  # what is used of them
        return Node(agent, server, logs)

    yield make
    for number, handler in before:
        signal.signal(number, handler)


def boards_in(directory: Path) -> list[Path]:
    return list(directory.rglob("*.board"))


def once_more(number: int, verdict: Verdict) -> bool:
    return number == 0


def always(number: int, verdict: Verdict) -> bool:
    return True


def fails_first(plan: WorkerPlan, board: Board) -> Ending | None:
    """Rank 1 of round 0 fails after 7 steps, rank 3 says so, the others hang; in round 1 all end well."""
    board.words[Word.STEP] = 7 if plan.round == 0 else 9
    if plan.round:
        return DONE
    return {1: FAILED, 3: ECHO}.get(plan.rank)


async def test_what_is_a_rounds_is_made_anew_and_what_is_the_attempts_stays(node: MakeNode, tmp_path: Path) -> None:
    found: list[tuple[int, int, str, int]] = []

    def script(plan: WorkerPlan, board: Board) -> Ending | None:
        found.append((plan.round, board.words[Word.REPEAT_UNTIL], plan.store_prefix, plan.master_port))
        assert (board.outcome(), board.words[Word.STEP]) == (None, 0), "a board of its own in each round"
        return fails_first(plan, board)

    one = node(script, once_more)
    assert await one.agent.run() == (Outcome.DONE, Verdict(outcome=Outcome.DONE))
    await one.agent.close()
    (port,) = one.server.stores
    assert found == [(0, 3, "2/0", port)] * 2 + [(1, 7, "2/1", port)] * 2
    assert [[worker.exit_code for worker in workers] for workers in one.server.rounds] == [[-9, 0], [0, 0]]
    boards = [worker.plan.board for workers in one.server.rounds for worker in workers]
    assert len(set(boards)) == 4
    assert boards_in(tmp_path) == []
    assert (one.agent.snapshot.round, one.agent.snapshot.readings[0].step) == (1, 9)
    assert "[agent 0] beginning round 1" in one.logs.said


async def test_an_attempt_is_one_round_as_long_as_nothing_asks_for_another(node: MakeNode) -> None:
    one = node(fails_first, one_round)
    outcome, verdict = await one.agent.run()
    await one.agent.close()
    assert outcome is Outcome.FAILED
    assert verdict.culprit is not None
    assert (verdict.culprit.rank, verdict.culprit.reason) == (1, "ValueError")
    assert len(one.server.rounds) == 1


async def test_two_nodes_meet_again_and_hear_of_each_other(node: MakeNode) -> None:
    pair = [node(fails_first, once_more, node_rank=rank, nodes=2) for rank in range(2)]

    async def whole(one: Node) -> Outcome:
        outcome, verdict = await one.agent.run()
        assert verdict == Verdict(outcome=Outcome.DONE)
        await one.agent.close()
        return outcome

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(whole(one) for one in pair)) == [Outcome.DONE] * 2
    for one in pair:
        assert [[worker.plan.round for worker in workers] for workers in one.server.rounds] == [[0, 0], [1, 1]]
    assert "culprit rank 1 on node 0" in "".join(pair[1].logs.said), "what ended round 0 was known to both"


async def test_a_stop_is_the_rounds_that_runs_and_no_other_follows(node: MakeNode) -> None:
    stops: list[tuple[int, int]] = []

    def script(plan: WorkerPlan, board: Board) -> Ending | None:
        stops.append((plan.round, board.words[Word.STOP]))
        if plan.round == 0:
            return FAILED
        if plan.rank == 1:  # the last of them to look at its board
            os.kill(os.getpid(), signal.SIGTERM)
        return None

    one = node(script, always)
    running = asyncio.get_running_loop().create_task(one.agent.run())
    async with asyncio.timeout(30):
        while not one.agent.snapshot.stopping:  # noqa: ASYNC110 - the heartbeat's doing
            await asyncio.sleep(0.01)
        ranks = one.server.rounds[1]
        assert [Board.attach(worker.plan.board).words[Word.STOP] for worker in ranks] == [1, 1]
        for worker in ranks:
            Board.attach(worker.plan.board).publish_outcome(Ending(outcome=Outcome.STOPPED).to_json())
            worker.end(0)
        assert await running == (Outcome.STOPPED, Verdict(outcome=Outcome.STOPPED))
    await one.agent.close()
    assert stops == [(0, 0)] * 2 + [(1, 0)] * 2
    assert len(one.server.rounds) == 2


async def test_a_stop_between_two_rounds_lets_no_worker_start(node: MakeNode) -> None:
    def goes_on(number: int, verdict: Verdict) -> bool:
        # Not by a signal: the loop could be a turn late to hear of it, and round 1 be there.
        asyncio.get_running_loop().call_soon(one.agent._asked_to_stop, signal.SIGTERM)
        return True

    one = node(fails_first, goes_on)
    assert await one.agent.run() == (Outcome.STOPPED, Verdict(outcome=Outcome.STOPPED))
    await one.agent.close()
    assert len(one.server.rounds) == 1


async def test_workers_that_were_being_started_when_the_verdict_came_are_gone_before_the_next_round(
    node: MakeNode,
) -> None:
    one = node(lambda plan, board: DONE if plan.round else None, once_more)
    one.server.may_start.clear()
    running = asyncio.get_running_loop().create_task(one.agent.run())
    async with asyncio.timeout(30):
        await asyncio.to_thread(one.server.asked.wait)
        one.server.end_store()
        while not any("StoreDied" in line for line in one.logs.said):  # noqa: ASYNC110 - the verdict is another task's
            await asyncio.sleep(0.01)
        assert one.server.rounds == []
        one.server.may_start.set()
        outcome, _ = await running
    await one.agent.close()
    assert outcome is Outcome.DONE
    assert [[worker.exit_code for worker in workers] for workers in one.server.rounds] == [[-9, -9], [0, 0]]
    assert len(one.server.stores) == 2, "a store that died is no store for the next round"
