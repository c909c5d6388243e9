"""The exploration finds what it is for: an operator that acts first and records afterwards is caught."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from op_faults import Counting, CrashAt, Invariants
from op_scenarios import SCENARIOS, Scenario, live, outcome
from op_world import World
from test_crash_points import CrashingWorld

from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.perform import Performed, perform
from thunderhead_operator.control import reconcile
from thunderhead_operator.plan.actions import Action, WriteStatus
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Obj, name_of, section, uid_of
from thunderhead_operator.plan.pods import PodView

SCENARIO = next(s for s in SCENARIOS if s.name == "fails every time")


async def act_then_record(api: ClusterApi, job: Obj, actions: Sequence[Action]) -> Performed:
    """Delete the pods, then write down why."""
    if actions and isinstance(actions[0], WriteStatus) and actions[0].patch.get("ending"):
        namespace, name = section(job, "metadata")["namespace"], name_of(job)
        for pod in (await api.list_children(namespace, name))[Kind.POD]:
            await api.delete_child(Kind.POD, namespace, name_of(pod), uid_of(pod), 0)
    return await perform(api, job, actions)


async def violations(scenario: Scenario) -> tuple[int, int]:
    """How many of all crash points end differently or break a rule."""
    world = World(scenario.script(), wrap=Counting)
    await live(world, scenario)
    expected = outcome(world)
    assert isinstance(world.api, Counting)
    calls, found = world.api.mutating, 0
    for number in range(1, calls + 1):
        for after in (False, True):
            world = CrashingWorld(scenario.script(), wrap=partial(CrashAt, number=number, after=after))
            invariants = Invariants(nodes=scenario.nodes, max_restarts=scenario.max_restarts)
            world.cluster.watch(invariants.saw)
            await live(world, scenario)
            found += bool(invariants.broken) or outcome(world) != expected
    return found, 2 * calls


async def test_acting_before_recording_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "perform", act_then_record)
    found, _ = await violations(SCENARIO)
    assert found >= 3


async def test_not_waiting_for_the_old_pods_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PodView, "stopped", property(lambda pod: True))
    scenario = next(s for s in SCENARIOS if s.name == "pod deleted with grace")
    world = World(scenario.script())
    world.kubelets.slow = {"digits-1-0", "digits-1-1"}
    invariants = Invariants(nodes=scenario.nodes, max_restarts=scenario.max_restarts)
    world.cluster.watch(invariants.saw)
    await live(world, scenario)
    assert "pods of attempts [1, 2] live together" in invariants.broken
