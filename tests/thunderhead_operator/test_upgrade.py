"""Jobs that an operator of before began: what it left unsaid costs them nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from op_faults import Counting, Proxy
from op_kubelet import done_after
from op_world import KEY, NAME, NAMESPACE, World, job

from thunderhead_api.names import code_config_map_name, pod_name
from thunderhead_api.treaty import KIND, Annotation, Cause, Label
from thunderhead_operator.cluster.errors import Forbidden
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Manifest, name_of


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


def peers(*names: str) -> Config:
    """Of an operator that lets these reach agents."""
    return Config(agent_peers=tuple({"podSelector": {"matchLabels": {"app": name}}} for name in names))


def policy(world: World) -> tuple[dict[str, str], list[str]]:
    """What the job's policy lets in: the labels of its own pods, and who may reach agents."""
    (found,) = world.cluster.all("NetworkPolicy")
    own, agents = found["spec"]["ingress"]
    names = [peer["podSelector"]["matchLabels"]["app"] for peer in agents["from"]]
    return own["from"][0]["podSelector"]["matchLabels"], names


@pytest.mark.parametrize("bears_uid", [True, False], ids=["pods of now", "pods of before the uid"])
@pytest.mark.parametrize("makes", ["of now", "of before", "gone"])
async def test_the_policy_of_a_running_job_is_renewed_and_never_parts_the_pods_that_run(
    bears_uid: bool, makes: str
) -> None:
    world = World(lambda pod: None, config=peers("prometheus"))
    world.submit()
    await world.run(lambda w: w.status.pods_created_at is not None)
    names = {Label.JOB.value: NAME}
    both = names | {Label.JOB_UID.value: world.uid}
    if not bears_uid:
        for name in world.pods():
            world.cluster.edit("Pod", NAMESPACE, name, lambda pod: pod["metadata"]["labels"].pop(Label.JOB_UID))
    if makes == "of before":
        world.cluster.edit("NetworkPolicy", NAMESPACE, NAME, lambda found: found["metadata"].pop("annotations"))
    elif makes == "gone":
        world.cluster.remove("NetworkPolicy", NAMESPACE, NAME)
    pods = {pod["metadata"]["uid"] for pod in world.pods().values()}
    world.config = peers("prometheus", "collector")
    world.restart_operator()
    await world.tick(3)
    assert policy(world) == (both if bears_uid else names, ["prometheus", "collector"])
    assert all(pod["metadata"]["labels"].items() >= policy(world)[0].items() for pod in world.pods().values())
    assert {pod["metadata"]["uid"] for pod in world.pods().values()} == pods
    world.cluster.delete_pod(NAMESPACE, pod_name(NAME, 1, 1), grace_s=0)
    await world.run(lambda w: w.status.attempt == 2 and w.status.pods_created_at is not None)
    assert policy(world) == (both, ["prometheus", "collector"]), "its pods bear the uid"


def add_of_others(policy: Manifest) -> None:
    """What a site, a tool or a controller writes onto it."""
    policy["metadata"]["annotations"]["example.com/team"] = "a"
    policy["metadata"]["labels"]["example.com/tier"] = "b"
    policy["metadata"]["finalizers"] = ["example.com/mesh"]
    policy["spec"] |= {"policyTypes": ["Ingress", "Egress"], "egress": []}


async def test_what_others_have_written_onto_a_policy_stays_until_it_is_renewed_and_beside_it_after() -> None:
    world = World(lambda pod: None, config=peers("prometheus"), wrap=Counting)
    counts = world.api
    assert isinstance(counts, Counting)
    world.submit()
    await world.run(lambda w: w.status.pods_created_at is not None)
    edited = world.cluster.edit("NetworkPolicy", NAMESPACE, NAME, add_of_others)
    world.restart_operator()
    await world.tick(30)
    assert world.cluster.get("NetworkPolicy", NAMESPACE, NAME) == edited
    world.config = peers("collector")
    world.restart_operator()
    await world.tick(30)
    found = world.cluster.get("NetworkPolicy", NAMESPACE, NAME)
    assert (policy(world)[1], found["spec"]["policyTypes"], "egress" in found["spec"]) == (
        ["collector"],
        ["Ingress"],
        False,
    )
    assert found["metadata"]["annotations"]["example.com/team"] == "a"
    assert found["metadata"]["labels"]["example.com/tier"] == "b"
    assert found["metadata"]["finalizers"] == ["example.com/mesh"]
    assert found["metadata"]["uid"] == edited["metadata"]["uid"], "never deleted: nothing gets in meanwhile"
    assert counts.calls["replace_child"] == 1


@pytest.mark.parametrize("where", ["suspended", "finished", "of another's"])
async def test_no_policy_is_touched_that_no_live_attempt_of_ours_needs(where: str) -> None:
    world = World(lambda pod: None, config=peers("prometheus"))
    world.submit()
    await world.run(lambda w: w.status.pods_created_at is not None)
    if where == "suspended":
        world.edit_spec(suspend=True)
        await world.run(lambda w: w.condition("Suspended") == ("True", "Suspended"))
    elif where == "finished":
        world.kubelets.script = done_after(1)
        await world.finish()
    else:
        world.cluster.edit("NetworkPolicy", NAMESPACE, NAME, lambda found: found["metadata"].pop("ownerReferences"))
    world.config = peers("collector")
    world.restart_operator()
    await world.tick(3)
    assert policy(world)[1] == ["prometheus"]
    if where == "suspended":
        world.edit_spec(suspend=False)
        await world.run(lambda w: w.status.attempt == 2 and w.status.pods_created_at is not None)
        assert policy(world)[1] == ["collector"]


class RoomForOne(Proxy):
    """A quota that takes the first pod of an attempt and not the second, until there is room."""

    full = True

    async def around(self, name: str, call: Callable[[], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        if self.full and name == "create_child" and args[0] is Kind.POD and name_of(args[2]) == pod_name(NAME, 1, 1):
            raise Forbidden("exceeded quota: one-pod")
        return await call()


def forget_make(pod: Manifest) -> None:
    """As a pod was before there were keys and makes."""
    del pod["metadata"]["annotations"][Annotation.MAKE]
    pod["spec"]["volumes"] = [v for v in pod["spec"]["volumes"] if "secret" not in v]


def as_it_is(pod: Manifest) -> None:
    """The same operator, started again."""


@pytest.mark.parametrize(
    ("before", "image", "causes"),
    [
        (forget_make, "runtime:1", [Cause.SUPERSEDED, Cause.COMPLETED]),
        (as_it_is, "runtime:2", [Cause.SUPERSEDED, Cause.COMPLETED]),
        (as_it_is, "runtime:1", [Cause.COMPLETED]),
    ],
    ids=["no key", "another default image", "nothing"],
)
async def test_no_attempt_has_pods_of_two_makes(
    before: Callable[[Manifest], None], image: str, causes: list[Cause]
) -> None:
    world = World(lambda pod: None, config=Config(runtime_image="runtime:1"), wrap=RoomForOne)
    world.submit()
    await world.run(lambda w: w.condition("Blocked") == ("True", "QuotaExceeded"))
    assert list(world.pods()) == [pod_name(NAME, 1, 0)]
    world.cluster.edit("Pod", NAMESPACE, pod_name(NAME, 1, 0), before)
    world.config = Config(runtime_image=image)
    world.restart_operator()
    assert isinstance(world.api, RoomForOne)
    world.api.full = False
    await world.run(lambda w: w.status.pods_created_at is not None)
    pods = world.pods().values()
    assert {int(pod["metadata"]["labels"][Label.ATTEMPT]) for pod in pods} == {len(causes)}
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {image}
    assert all(any("secret" in volume for volume in pod["spec"]["volumes"]) for pod in pods)
    world.kubelets.script = done_after(1)
    await world.finish()
    assert [entry.cause for entry in world.status.ledger] == causes
    assert all(entry.free for entry in world.status.ledger)
