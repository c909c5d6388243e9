"""Jobs that an operator of before began: what it left unsaid costs them nothing."""

from __future__ import annotations

import pytest
from op_world import KEY, NAME, NAMESPACE, World, job

from thunderhead_api.names import code_config_map_name
from thunderhead_api.treaty import KIND
from thunderhead_operator.plan.objects import Manifest


def write_code(world: World, text: str) -> None:
    """The user makes or edits the ConfigMap of the code."""
    config_map = {"kind": "ConfigMap", "metadata": {"name": "mine", "namespace": NAMESPACE}, "data": {"a.py": text}}
    if any(o["metadata"]["name"] == "mine" for o in world.cluster.all("ConfigMap")):
        world.cluster.edit("ConfigMap", NAMESPACE, "mine", lambda o: o.update(config_map | {"metadata": o["metadata"]}))
    else:
        world.cluster.create(config_map)


def forget_code(world: World) -> None:
    """Copies and status as they were before copies said what they are of."""
    name = code_config_map_name(NAME, world.uid, world.status.attempt)
    world.cluster.edit("ConfigMap", NAMESPACE, name, lambda o: o["metadata"].pop("annotations"))
    world.cluster.edit(KIND, *KEY, lambda o: o["status"].pop("codeHash"))


@pytest.mark.parametrize(("edit", "runs"), [({}, "first"), ({"seed": 7}, "second")], ids=["recovery", "changed spec"])
async def test_code_is_as_frozen_as_that_of_a_job_of_now(edit: Manifest, runs: str) -> None:
    world = World(lambda pod: None)
    write_code(world, "first")
    world.submit(job(code={"configMap": {"name": "mine"}}))
    await world.run(lambda w: w.status.pods_created_at is not None)
    forget_code(world)
    world.restart_operator()
    write_code(world, "second")
    if edit:
        world.edit_spec(**edit)
    else:
        world.cluster.delete_pod(NAMESPACE, f"{NAME}-1-1", grace_s=0)
    await world.run(lambda w: w.status.attempt == 2 and w.status.pods_created_at is not None)
    copy = world.cluster.get("ConfigMap", NAMESPACE, code_config_map_name(NAME, world.uid, 2))
    assert copy["data"] == {"a.py": runs}
