"""Pulling from agents: when, how often, from whom; and disbelief."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from op_build import UID, at, pod, reply, running_status, stored
from op_time import virtually
from op_world import KEY

from thunderhead_operator.cluster.http import HttpError
from thunderhead_operator.control.pulling import EAGER_S, FAILED_LAST_S, STEADY_S, ProgressPuller, parse_status
from thunderhead_operator.control.queue import Key
from thunderhead_operator.control.reconcile import Memory


def body(**changes: Any) -> bytes:
    return reply(**changes).model_dump_json().encode()


class Agent:
    """Answers what it is told to, and remembers when it was asked."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []

    async def __call__(self, address: tuple[str, int], target: str) -> bytes:
        assert address == ("10.0.0.1", 9400)
        assert target == f"/status?uid={UID}&attempt=1"
        self.asked.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def memory(status: dict[str, Any] | None = None, *pods: dict[str, Any]) -> Memory:
    return Memory(job=stored(running_status() if status is None else status), pods=pods or (pod(0), pod(1)))


def pull(agent: Agent, test: Callable[[ProgressPuller, list[Key]], Awaitable[None]]) -> None:
    async def main() -> None:
        woken: list[Key] = []
        loop = asyncio.get_running_loop()
        puller = ProgressPuller(
            wake=woken.append, now=lambda: at(loop.time()), monotonic=loop.time, write_period_s=10.0, fetch=agent
        )
        await test(puller, woken)
        await puller.stop()

    virtually(main())


def test_eager_until_the_first_step_then_steady() -> None:
    agent = Agent(body(ranks_met=1), body(), body(first_step=0, step=1, first_step_at="2026-01-01T00:00:01Z"))

    async def test(puller: ProgressPuller, woken: list[Key]) -> None:
        puller.follow(KEY, memory())
        await asyncio.sleep(12)
        gaps = [round(b - a, 3) for a, b in zip(agent.asked, agent.asked[1:], strict=False)]
        assert gaps[:2] == [EAGER_S, EAGER_S]
        assert gaps[2:] == [STEADY_S, STEADY_S]

    pull(agent, test)


def test_news_wake_at_once_and_steps_when_a_write_is_due() -> None:
    agent = Agent(body(ranks_met=1), body(ranks_met=1), body(), *(body(first_step=0, step=n) for n in range(99)))

    async def test(puller: ProgressPuller, woken: list[Key]) -> None:
        known = memory()
        known.written_at = 0.0
        puller.follow(KEY, known)
        await asyncio.sleep(0.1)
        assert len(woken) == 1, "the first answer"
        await asyncio.sleep(0.5)
        assert len(woken) == 1, "the same again"
        await asyncio.sleep(0.5)
        assert len(woken) == 2, "all ranks have met"
        await asyncio.sleep(8)
        assert len(woken) == 2, "steps alone wait"
        await asyncio.sleep(2)
        assert len(woken) > 2

    pull(agent, test)


def test_failures_ask_less_and_less() -> None:
    agent = Agent(HttpError("refused"))

    async def test(puller: ProgressPuller, woken: list[Key]) -> None:
        puller.follow(KEY, memory())
        await asyncio.sleep(60)
        gaps = [b - a for a, b in zip(agent.asked, agent.asked[1:], strict=False)]
        assert gaps == sorted(gaps)
        assert gaps[-1] == FAILED_LAST_S
        assert woken == []

    pull(agent, test)


@pytest.mark.parametrize(
    "known",
    [
        memory(running_status(ending={"cause": "Drained", "free": True, "at": "2026-01-01T00:00:00Z"})),
        memory({}),
        memory(None, pod(1)),
        memory(None, pod(0, phase="Pending")),
        memory(None, pod(0, phase="Failed", exit_code=1)),
        memory(None, pod(0, attempt=2)),
        Memory(),
        Memory(job=stored(running_status()), pods=(pod(0),), gone=True),
    ],
    ids=["ending", "no attempt", "no node 0", "not started", "stopped", "another attempt", "nothing read", "gone"],
)
def test_nobody_is_asked_when_nothing_runs(known: Memory) -> None:
    agent = Agent(body())

    async def test(puller: ProgressPuller, woken: list[Key]) -> None:
        puller.follow(KEY, known)
        await asyncio.sleep(5)

    pull(agent, test)
    assert agent.asked == []


def test_one_task_per_job_and_it_ends_with_the_attempt() -> None:
    agent = Agent(body())

    async def test(puller: ProgressPuller, woken: list[Key]) -> None:
        known = memory()
        for _ in range(3):
            puller.follow(KEY, known)
        await asyncio.sleep(1.1)
        assert len(agent.asked) == 3
        known.pods = ()
        await asyncio.sleep(10)
        assert len(agent.asked) == 3
        known.pods = (pod(0),)
        puller.follow(KEY, known)
        await asyncio.sleep(0.1)
        assert len(agent.asked) == 4

    pull(agent, test)


def test_what_is_believed() -> None:
    parsed = parse_status(body(step=3, metrics={"loss": 0.5}), uid=UID, attempt=1)
    assert parsed is not None
    assert parsed.metrics == {"loss": 0.5}


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"<html>",
        body(uid="another"),
        body(attempt=2),
        body(treaty=99),
        body().replace(b'"trainingSeconds":0.0', b'"trainingSeconds":NaN'),
        body().replace(b'"trainingSeconds":0.0', b'"trainingSeconds":Infinity'),
        json.dumps({**json.loads(body()), "metrics": {str(n): 0 for n in range(33)}}).encode(),
        json.dumps({**json.loads(body()), "step": 10**30}).encode(),
        json.dumps({**json.loads(body()), "epoch": -(10**30)}).encode(),
        json.dumps({**json.loads(body()), "firstStep": -1}).encode(),
        json.dumps({**json.loads(body()), "maxSteps": 2**53}).encode(),
        json.dumps({**json.loads(body()), "stepSeconds": -1.0}).encode(),
        json.dumps({**json.loads(body()), "checkpoint": {"uri": "s3://b", "step": 2**63, "committedAt": "x"}}).encode(),
        json.dumps({**json.loads(body()), "percent": 101}).encode(),
        json.dumps({**json.loads(body()), "phase": "x" * 300}).encode(),
    ],
)
def test_what_is_not_believed(said: bytes) -> None:
    assert parse_status(said, uid=UID, attempt=1) is None


def test_numbers_that_are_none_become_words() -> None:
    said = (
        body(metrics={"a": 1.0, "b": 1.5, "c": "NaN"})
        .replace(b'"a":1.0', b'"a":NaN')
        .replace(b'"b":1.5', b'"b":-Infinity')
    )
    parsed = parse_status(said, uid=UID, attempt=1)
    assert parsed is not None
    assert parsed.metrics == {"a": "NaN", "b": "-Infinity", "c": "NaN"}
    json.dumps(parsed.model_dump(mode="json"), allow_nan=False)
