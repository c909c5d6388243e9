"""Calls that fail, answers that are lost, events that never come or come twice, two operators at once, meddlers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from op_faults import MUTATING, Flaky, Invariants, Proxy
from op_scenarios import SCENARIOS, Scenario, live, outcome
from op_world import KEY, World

from thunderhead_operator.cluster.errors import ApiError, Conflict, Throttled, Unavailable
from thunderhead_operator.control.queue import Key
from thunderhead_operator.control.reconcile import Reconciler
from thunderhead_operator.plan.objects import Obj

SEEDS = pytest.mark.parametrize(
    "seeds",
    [pytest.param(range(2), id="two seeds"), pytest.param(range(2, 15), id="more seeds", marks=pytest.mark.matrix)],
)
FAULTS: dict[str, Callable[[], tuple[ApiError, bool]]] = {
    "conflict": lambda: (Conflict("changed"), False),
    "throttled": lambda: (Throttled("slow down", retry_after_s=1.0), False),
    "unavailable": lambda: (Unavailable("500"), False),
    "lost answer": lambda: (Unavailable("time-out"), True),
}


async def reference(scenario: Scenario) -> dict[str, Any]:
    world = World(scenario.script())
    await live(world, scenario)
    return outcome(world)


def watched(world: World, scenario: Scenario) -> Invariants:
    invariants = Invariants(nodes=scenario.nodes, max_restarts=scenario.max_restarts)
    world.cluster.watch(invariants.saw)
    return invariants


@SEEDS
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_calls_that_fail(scenario: Scenario, fault: str, seeds: range) -> None:
    """Every third call or so, reads too where that makes sense."""
    expected = await reference(scenario)
    for seed in seeds:
        chance = random.Random(seed)

        def choose(name: str, chance: random.Random = chance) -> tuple[ApiError, bool] | None:
            writes = name in MUTATING
            fits = writes or fault in ("throttled", "unavailable")
            return FAULTS[fault]() if fits and chance.random() < 0.3 else None

        world = World(scenario.script(), wrap=lambda api: Flaky(api, choose))
        invariants = watched(world, scenario)
        await live(world, scenario, limit=600)
        assert isinstance(world.api, Flaky)
        assert world.api.faults, f"seed {seed}: no call failed"
        assert not invariants.broken, f"seed {seed}: {invariants.broken}"
        assert outcome(world) == expected, f"seed {seed}"


class DeafWorld(World):
    """Loses, repeats and delays watch events; a resync comes every ten seconds."""

    def __init__(self, *args: Any, chance: random.Random, **kwargs: Any) -> None:
        self.chance = chance
        self.late: list[tuple[str, str, Obj]] = []
        super().__init__(*args, **kwargs)

    def _saw(self, event: str, kind: str, obj: Obj) -> None:
        fate = self.chance.random()
        if fate < 0.4:
            return
        if fate < 0.6:
            self.late.append((event, kind, obj))
            return
        super()._saw(event, kind, obj)
        if fate > 0.9:
            super()._saw(event, kind, obj)

    async def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.chance.shuffle(self.late)
            while self.late and self.chance.random() < 0.5:
                super()._saw(*self.late.pop())
            if int(self.time.timestamp()) % 10 == 0:
                self.dirty[KEY] = None
            await super().tick()


@SEEDS
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_watch_events_lost_repeated_and_late(scenario: Scenario, seeds: range) -> None:
    """What a watch tells is a reason to look, never what is looked at."""
    expected = await reference(scenario)
    for seed in seeds:
        world = DeafWorld(scenario.script(), chance=random.Random(seed))
        invariants = watched(world, scenario)
        await live(world, scenario, limit=600)
        world.dirty[KEY] = None
        await world.drain()
        assert not invariants.broken, f"seed {seed}: {invariants.broken}"
        assert outcome(world) == expected, f"seed {seed}"


class Interleaved(Proxy):
    """Lets others run before and after each call, as long as chance wants."""

    def __init__(self, api: Any, chance: random.Random) -> None:
        super().__init__(api)
        self.chance = chance

    async def around(self, name: str, call: Callable[[], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)
        result = await call()
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)
        return result


class Stalling(Interleaved):
    """An operator that now and then stands still in the middle of a call for several seconds, like a paused machine."""

    def __init__(self, api: Any, chance: random.Random) -> None:
        super().__init__(api, chance)
        self.stalled: list[tuple[int, asyncio.Event]] = []

    async def around(self, name: str, call: Callable[[], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        if name in MUTATING and self.chance.random() < 0.1:
            gate = asyncio.Event()
            self.stalled.append((self.chance.randrange(1, 8), gate))
            await gate.wait()
        return await super().around(name, call, args)

    def second_passed(self) -> None:
        self.stalled = [(left - 1, gate) for left, gate in self.stalled if left > 1 or gate.set()]  # type: ignore[func-returns-value]  # None drops it


class TwoOperators(World):
    """Both run every pass at the same time."""

    def restart_operator(self) -> None:
        raise AssertionError("not here")

    async def one_pass(self, key: Key) -> None:
        if not hasattr(self, "second"):
            self.second = self.new_reconciler()
        first = self.reconciler

        async def other() -> None:
            try:
                await self.second(key)
            except ApiError:
                self.failures += 1
                self.dirty[key] = None

        racer = asyncio.create_task(other())
        self.reconciler = first
        await super().one_pass(key)
        await racer


@SEEDS
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_two_operators_at_once(scenario: Scenario, seeds: range) -> None:
    expected = await reference(scenario)
    for seed in seeds:
        chance = random.Random(seed)
        world = TwoOperators(scenario.script(), wrap=lambda api, chance=chance: Interleaved(api, chance))  # type: ignore[misc]  # a lambda's default
        invariants = watched(world, scenario)
        await live(world, scenario, limit=600)
        assert not invariants.broken, f"seed {seed}: {invariants.broken}"
        assert outcome(world) == expected, f"seed {seed}"


class OneOfTwoStalls(World):
    """A second operator beside ours that stalls in mid-pass while time goes on."""

    def __init__(self, *args: Any, chance: random.Random, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.slow_api = Stalling(self.cluster, chance)
        self.slow = Reconciler(self.slow_api, config=self.config, now=lambda: self.time, monotonic=lambda: 0.0)
        self.racers: set[asyncio.Task[None]] = set()

    async def one_pass(self, key: Key) -> None:
        if not self.racers:
            self.racers.add(asyncio.create_task(self.race(key)))
        await super().one_pass(key)
        for _ in range(10):
            await asyncio.sleep(0)
        self.racers = {racer for racer in self.racers if not racer.done()}

    async def race(self, key: Key) -> None:
        with contextlib.suppress(ApiError):
            await self.slow(key)

    async def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.slow_api.second_passed()
            await super().tick()
            if self.racers:
                self.dirty[KEY] = None

    async def end(self) -> None:
        while self.racers:
            await self.tick()


@SEEDS
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_an_operator_that_stalls_beside_another(scenario: Scenario, seeds: range) -> None:
    """It may create a pod of an attempt that is over: the other one removes it before it runs."""
    expected = await reference(scenario)
    for seed in seeds:
        world = OneOfTwoStalls(scenario.script(), chance=random.Random(seed))
        invariants = watched(world, scenario)
        invariants.once, invariants.live_phases, invariants.zombies = False, frozenset({"Running"}), True
        await live(world, scenario, limit=600)
        await world.end()
        await world.tick(3)
        assert not invariants.broken, f"seed {seed}: {invariants.broken}"
        assert outcome(world) == expected, f"seed {seed}"
