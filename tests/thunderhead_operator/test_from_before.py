"""Jobs that an older operator left without an attempt, changed under this one."""

from __future__ import annotations

from typing import Any

from op_agent import runs_attempt, tells_where_it_is
from op_kubelet import End, Pod, Script, done_after, ends
from op_world import KEY, World

from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import KIND, Outcome, Phase


def forget_what_is_new(world: World) -> None:
    """The status as an operator of before would have it, which wrote no world and no spec into the ledger."""

    def older(o: dict[str, Any]) -> None:
        del o["status"]["world"]
        for entry in o["status"]["ledger"]:
            entry.pop("specHash", None)
        o["status"]["checkpoint"] = {"uri": "s3://b/m", "step": 5, "committedAt": "2026-01-01T00:00:00Z"}

    world.cluster.edit(KIND, *KEY, older)


async def suspended_before_the_upgrade(script: Script) -> World:
    world = World(script)
    world.agent = tells_where_it_is
    world.submit()
    await world.run(runs_attempt(1))
    world.edit_spec(suspend=True)
    await world.run(lambda w: w.status.phase is Phase.SUSPENDED)
    forget_what_is_new(world)
    world.restart_operator()
    await world.tick(2)
    assert world.status.phase is Phase.SUSPENDED
    return world


async def test_a_job_suspended_before_the_upgrade_keeps_its_number_of_ranks() -> None:
    world = await suspended_before_the_upgrade(lambda pod: None if pod.attempt == 1 else done_after(2)(pod))
    assert world.status.world is not None
    assert (world.status.world.nodes, world.status.world.fixed) == (2, True)
    world.edit_spec(suspend=False, nodes=1)
    await world.tick(5)
    assert (world.status.phase, world.status.attempt) == (Phase.BLOCKED, 1)
    assert world.condition("Blocked") == ("True", "CannotContinue")
    world.edit_spec(nodes=2)
    await world.finish()
    assert world.status.phase is Phase.COMPLETE


async def test_a_change_of_a_job_suspended_before_the_upgrade_is_at_fault_where_it_is() -> None:
    def script(pod: Pod) -> End | None:
        if pod.attempt == 2:
            return ends(pod, Outcome.INVALID_CONFIGURATION, Culprit(message="size mismatch for body.weight"))
        return None if pod.attempt == 1 else done_after(2)(pod)

    world = await suspended_before_the_upgrade(script)
    world.edit_spec(suspend=False, module={"class_path": "digits.Wider"})
    await world.run(lambda w: w.status.phase is Phase.BLOCKED)
    assert world.condition("Blocked") == ("True", "CannotContinue")
    world.edit_spec(module={"class_path": "digits.Classifier"})
    await world.finish()
    assert world.status.phase is Phase.COMPLETE
