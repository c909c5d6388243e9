"""Lives of jobs with a disturbance in them, each triggered by the state of the world and never by its clock, so that a
run with crashes can be compared with one without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from op_kubelet import End, Pod, Script, done_after, ends
from op_world import NAMESPACE, World, job

from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import Outcome
from thunderhead_operator.plan.objects import Manifest


@dataclass
class Scenario:
    """A job, what its pods do, and what happens to it: ``act`` is called every tick and says whether it has acted."""

    name: str
    script: Callable[[], Script]
    manifest: Callable[[], Manifest] = job
    acts: tuple[Callable[[World], bool], ...] = field(default=())
    nodes: int = 2
    max_restarts: int = 2


def fails_every_time(pod: Pod) -> End | None:
    culprit = Culprit(rank=1, node_rank=1, exit_code=1, reason="ValueError", message="bad batch")
    if pod.age < 2 or pod.rank != 1:
        return None
    return ends(pod, Outcome.FAILED, culprit, last=7)


def fails_once(pod: Pod) -> End | None:
    return fails_every_time(pod) if pod.attempt == 1 else done_after(3)(pod)


def finishes_in_attempt(number: int) -> Script:
    return lambda pod: done_after(3)(pod) if pod.attempt >= number else None


def running(world: World, attempt: int, rank: int) -> bool:
    pod = world.pods().get(f"digits-{attempt}-{rank}")
    return pod is not None and pod["status"]["phase"] == "Running" and world.status.pods_created_at is not None


def delete_pod(rank: int, **kwargs: Any) -> Callable[[World], bool]:
    def act(world: World) -> bool:
        if not running(world, 1, rank):
            return False
        world.cluster.delete_pod(NAMESPACE, f"digits-1-{rank}", **kwargs)
        return True

    return act


def lose_node(world: World) -> bool:
    if not running(world, 1, 1):
        return False
    world.kubelets.lose_node("node-1")
    return True


def suspend(world: World) -> bool:
    if not running(world, 1, 0):
        return False
    world.edit_spec(suspend=True)
    return True


def resume(world: World) -> bool:
    if world.condition("Suspended") != ("True", "Suspended"):
        return False
    world.edit_spec(suspend=False)
    return True


def change_spec(world: World) -> bool:
    if not running(world, 1, 0):
        return False
    world.edit_spec(seed=43)
    return True


def wants_one_node(world: World) -> bool:
    if not running(world, 1, 0) or world.status.world is None or not world.status.world.fixed:
        return False
    world.edit_spec(nodes=1)
    return True


def takes_it_back(world: World) -> bool:
    if world.condition("Blocked") != ("True", "CannotContinue"):
        return False
    world.edit_spec(nodes=2)
    return True


def make_code(world: World) -> bool:
    meta = {"name": "mine", "namespace": NAMESPACE}
    world.cluster.create({"kind": "ConfigMap", "metadata": meta, "data": {"a.py": "first"}})
    return True


def delete_code_and_pod(world: World) -> bool:
    """Its own copy is all that is left of the code."""
    if not running(world, 1, 1):
        return False
    uid = world.cluster.get("ConfigMap", NAMESPACE, "mine")["metadata"]["uid"]
    world.cluster.remove("ConfigMap", NAMESPACE, "mine", uid)
    world.cluster.delete_pod(NAMESPACE, "digits-1-1", grace_s=0)
    return True


SCENARIOS = (
    Scenario("undisturbed", lambda: done_after(3)),
    Scenario("fails once", lambda: fails_once),
    Scenario("fails every time", lambda: fails_every_time),
    Scenario("pod deleted by force", lambda: finishes_in_attempt(2), acts=(delete_pod(1, grace_s=0),)),
    Scenario("pod deleted with grace", lambda: finishes_in_attempt(2), acts=(delete_pod(0),)),
    Scenario("node lost", lambda: finishes_in_attempt(2), acts=(lose_node,)),
    Scenario("suspended and resumed", lambda: finishes_in_attempt(2), acts=(suspend, resume)),
    Scenario("spec changed", lambda: finishes_in_attempt(2), acts=(change_spec,)),
    Scenario(
        "code deleted, then a pod",
        lambda: finishes_in_attempt(2),
        lambda: job(code={"configMap": {"name": "mine"}}),
        acts=(make_code, delete_code_and_pod),
    ),
    Scenario(
        "world changed, pod lost, set back",
        lambda: finishes_in_attempt(2),
        acts=(wants_one_node, delete_pod(1, grace_s=0), takes_it_back),
    ),
)


async def live(world: World, scenario: Scenario, limit: int = 200) -> None:
    """From create to the end, with everything that the scenario has in store."""
    world.submit(scenario.manifest())
    acts = list(scenario.acts)

    def step(w: World) -> bool:
        if acts and acts[0](w):
            del acts[0]
        return not acts and (w.condition("Complete") is not None or w.condition("Failed") is not None)

    await world.run(step, limit)
    await world.tick(3)


def outcome(world: World) -> dict[str, Any]:
    """What must be the same however often the operator died: everything but times and step counts, what is only looked
    at now and then, and whether a pass came by while something was in the way that is there no more."""
    status = world.status
    return {
        "conditions": [
            (c.type, c.status, c.reason)
            for c in status.conditions
            if c.type != "CodeChanged" and (c.type, c.status) != ("Blocked", "False")
        ],
        "ledger": [(e.attempt, e.cause, e.free, e.culprit.pod if e.culprit else None) for e in status.ledger],
        "restarts": status.restarts,
        "attempt": status.attempt,
        "phase": status.phase,
        "pods": sorted(world.pods()),
        "maps": sorted(o["metadata"]["name"] for o in world.cluster.all("ConfigMap")),
    }
