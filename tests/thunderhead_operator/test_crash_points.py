"""The operator dies before or after each of its mutating calls, in every scenario: same end, no rule broken."""

from __future__ import annotations

from functools import partial

import pytest
from op_faults import Counting, Crash, CrashAt, Invariants
from op_scenarios import SCENARIOS, Scenario, live, outcome
from op_world import World


class CrashingWorld(World):
    """Starts the operator again ``pause`` seconds after its death."""

    pause = 0
    crashes = 0

    async def drain(self, max_passes: int = 200) -> None:
        try:
            await super().drain(max_passes)
        except Crash:
            self.crashes += 1
            for _ in range(self.pause):
                self.dirty.clear()
                self.time = self.later(1)
                self.kubelets.tick()
            self.api.dead = False  # type: ignore[attr-defined]  # a CrashAt
            self.restart_operator()
            await self.drain(max_passes)


def watched(world: World, scenario: Scenario) -> Invariants:
    invariants = Invariants(nodes=scenario.nodes, max_restarts=scenario.max_restarts)
    world.cluster.watch(invariants.saw)
    return invariants


async def undisturbed(scenario: Scenario) -> tuple[World, int]:
    world = World(scenario.script(), wrap=Counting)
    invariants = watched(world, scenario)
    await live(world, scenario)
    assert not invariants.broken
    assert isinstance(world.api, Counting)
    return world, world.api.mutating


# An odd share, as every other point is behind a call.
@pytest.mark.parametrize("one_in", [pytest.param(5, id="a fifth"), pytest.param(1, id="all", marks=pytest.mark.matrix)])
@pytest.mark.parametrize("pause", [0, 4], ids=["at once", "4 s later"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_every_crash_point(scenario: Scenario, pause: int, one_in: int) -> None:
    reference, calls = await undisturbed(scenario)
    points = [(number, after) for number in range(1, calls + 1) for after in (False, True)]
    # Each scenario begins with another point, so that all together crash at every early call.
    for number, after in points[(SCENARIOS.index(scenario) + pause) % one_in :: one_in]:
        world = CrashingWorld(scenario.script(), wrap=partial(CrashAt, number=number, after=after))
        world.pause = pause
        invariants = watched(world, scenario)
        await live(world, scenario)
        where = f"crash {'after' if after else 'before'} call {number} of {calls}"
        assert world.crashes == 1, where
        assert not invariants.broken, f"{where}: {invariants.broken}"
        assert outcome(world) == outcome(reference), where


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_one_more_pass_does_nothing(scenario: Scenario) -> None:
    world, _ = await undisturbed(scenario)
    before = world.cluster.all("TrainingJob"), world.cluster.all("Pod"), world.cluster.all("ConfigMap")
    assert isinstance(world.api, Counting)
    world.api.calls.clear()
    world.restart_operator()
    await world.drain()
    assert world.api.mutating == 0
    assert before == (world.cluster.all("TrainingJob"), world.cluster.all("Pod"), world.cluster.all("ConfigMap"))
