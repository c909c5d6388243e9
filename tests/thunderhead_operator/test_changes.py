"""Specs changed in mid-job: what can go on does, what cannot is held with the running attempt untouched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from op_agent import runs_attempt, tells_where_it_is
from op_faults import Proxy
from op_kubelet import End, Pod, done_after, ends
from op_world import KEY, NAMESPACE, World, job

from thunderhead_api.messages import Culprit
from thunderhead_api.treaty import KIND, Annotation, Cause, Outcome, Phase
from thunderhead_operator.cluster.errors import Invalid
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.policy import ALLOW_ALL, Policy

Call = Callable[[], Awaitable[Any]]


async def test_another_number_of_ranks_leaves_the_running_attempt_alone_and_heals() -> None:
    world = World(lambda pod: None)
    world.agent = tells_where_it_is
    world.submit()
    await world.run(runs_attempt(1))
    before = world.pods()
    world.edit_spec(nodes=1)
    await world.tick(20)
    assert world.condition("Blocked") == ("True", "CannotContinue")
    assert world.status.phase is Phase.RUNNING
    assert world.pods().keys() == before.keys()
    assert [p["metadata"]["uid"] for p in world.pods().values()] == [p["metadata"]["uid"] for p in before.values()]
    assert world.events().count("Blocked") == 1
    world.edit_spec(nodes=2)
    await world.tick(2)
    assert world.condition("Blocked") == ("False", "NotBlocked")
    world.kubelets.script = done_after(1)
    await world.finish()
    assert [(e.attempt, e.cause) for e in world.status.ledger] == [(1, Cause.COMPLETED)]


async def test_an_attempt_that_ends_under_a_held_change_waits_for_it_to_be_set_back() -> None:
    """However long: no clock of the job's runs meanwhile."""
    world = World(lambda pod: None)
    world.agent = tells_where_it_is
    world.submit(job(startupDeadlineSeconds=30, activeDeadlineSeconds=100))
    await world.run(runs_attempt(1))
    world.edit_spec(nodes=1)
    await world.tick(3)
    world.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
    await world.tick(300)
    assert world.status.phase is Phase.BLOCKED
    assert (world.status.attempt, world.condition("Failed")) == (1, None)
    assert [(e.attempt, e.cause) for e in world.status.ledger] == [(1, Cause.POD_DELETED)]
    world.restart_operator()
    await world.tick(3)
    assert (world.status.phase, world.status.attempt) == (Phase.BLOCKED, 1)
    world.edit_spec(nodes=2)
    world.kubelets.script = done_after(2)
    await world.finish()
    assert world.status.phase is Phase.COMPLETE
    assert world.status.attempt == 2


async def test_a_suspended_job_with_another_number_of_ranks_is_blocked_and_heals() -> None:
    world = World(lambda pod: None)
    world.agent = tells_where_it_is
    world.submit()
    await world.run(runs_attempt(1))
    world.edit_spec(suspend=True)
    await world.run(lambda w: w.status.phase is Phase.SUSPENDED)
    assert world.condition("Running") == ("False", "Suspended"), "whatever its agent said last"
    world.edit_spec(suspend=False, nodes=1)
    await world.tick(5)
    assert (world.status.phase, world.status.attempt) == (Phase.BLOCKED, 1)
    assert world.condition("Suspended") == ("False", "NotSuspended")
    world.edit_spec(suspend=True)
    await world.tick(2)
    assert world.status.phase is Phase.SUSPENDED
    world.edit_spec(suspend=False, nodes=2)
    world.kubelets.script = done_after(2)
    await world.finish()
    assert world.status.phase is Phase.COMPLETE


class RefusesImage(Proxy):
    """An API server that takes no pod with the image ``a b``."""

    async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        makes_pod = name in ("create_child", "rehearse_child") and args[0] is Kind.POD
        if makes_pod and args[2]["spec"]["containers"][0]["image"] == "a b":
            raise Invalid("spec.containers[0].image: Invalid value")
        return await call()


async def test_a_change_whose_pods_the_api_server_refuses_leaves_the_running_attempt_alone_and_heals() -> None:
    world = World(lambda pod: None, wrap=RefusesImage)
    world.agent = tells_where_it_is
    world.submit()
    await world.run(runs_attempt(1))
    world.edit_spec(image="a b")
    await world.tick(30)
    assert world.condition("Blocked") == ("True", "InvalidPod")
    assert "containers[0].image" in world.message("Blocked")
    assert (world.status.attempt, world.status.phase) == (1, Phase.RUNNING)
    world.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
    await world.tick(30)
    assert (world.status.attempt, world.status.phase) == (1, Phase.BLOCKED)
    world.edit_spec(image="good:2")
    world.kubelets.script = done_after(2)
    await world.finish()
    assert [(e.attempt, e.cause) for e in world.status.ledger] == [(1, Cause.POD_DELETED), (2, Cause.COMPLETED)]


async def test_a_change_with_which_the_runtime_cannot_go_on_is_blocked_and_heals() -> None:
    """What only the pods find out (state that does not fit the new module): the job has trained, so the change is at
    fault, and taking it back heals."""

    def script(pod: Pod) -> End | None:
        if pod.attempt != 2:
            return None if pod.attempt == 1 else done_after(2)(pod)
        return ends(pod, Outcome.INVALID_CONFIGURATION, Culprit(message="size mismatch for body.weight"))

    world = World(script)
    world.agent = tells_where_it_is
    world.submit()
    await world.run(runs_attempt(1))
    world.edit_spec(module={"class_path": "digits.Wider"})
    await world.run(lambda w: w.status.phase is Phase.BLOCKED)
    await world.tick(60)
    assert world.condition("Blocked") == ("True", "CannotContinue")
    assert "size mismatch" in world.message("Blocked")
    assert [(e.attempt, e.cause) for e in world.status.ledger] == [
        (1, Cause.SPEC_CHANGED),
        (2, Cause.INVALID_CONFIGURATION),
    ]
    world.edit_spec(module={"class_path": "digits.Classifier"})
    await world.finish()
    assert world.status.phase is Phase.COMPLETE
    assert world.status.restarts.charged == 0


@pytest.mark.parametrize("heal", ["set back", "room and a restart"])
@pytest.mark.parametrize(
    "edit", [{"image": "no-such:1"}, {"resources": {"requests": {"cpu": "900"}}}], ids=["no image", "no room"]
)
async def test_a_change_with_which_no_pod_ever_starts_is_blocked_and_heals(edit: dict[str, Any], heal: str) -> None:
    world = World(lambda pod: None)
    world.agent = tells_where_it_is
    world.submit(job(startupDeadlineSeconds=30))
    await world.run(runs_attempt(1))
    world.kubelets.held = True
    world.edit_spec(**edit)
    await world.run(lambda w: len(w.status.ledger) == 2)
    await world.tick(60)
    assert (world.condition("Failed"), world.status.phase) == (None, Phase.BLOCKED)
    assert world.condition("Blocked") == ("True", "CannotContinue")
    assert "attempt 2 with the changed spec or code ended: StartupDeadlineExceeded" in world.message("Blocked")
    assert "no running container for node ranks 0, 1" in world.message("Blocked")
    assert [(e.cause, e.free) for e in world.status.ledger] == [
        (Cause.SPEC_CHANGED, True),
        (Cause.STARTUP_DEADLINE, True),
    ]
    world.kubelets.held = False
    if heal == "set back":
        world.cluster.edit(KIND, *KEY, lambda o: [o["spec"].pop(key) for key in edit])
    else:
        world.cluster.edit(KIND, *KEY, lambda o: o["metadata"].update(annotations={Annotation.RESTART.value: "1"}))
    await world.run(runs_attempt(3))
    assert world.condition("Blocked") == ("False", "NotBlocked"), "what runs is a new try"
    world.kubelets.script = done_after(2)
    await world.finish()
    assert world.status.phase is Phase.COMPLETE


def nested(levels: int) -> Any:
    return 1 if levels == 0 else [nested(levels - 1)]


def module_with(value: Any) -> dict[str, Any]:
    return {"module": {"class_path": "digits.Classifier", "init_args": {"x": value}}}


MISSPELT = {"podTemplate": {"metadata": {"annotations": {"thunderhead.dev/without": "afinity"}}}}
only_we_refuse = pytest.mark.parametrize(
    ("edit", "reason", "says"),
    [
        (module_with(nested(101)), "InvalidConfiguration", "spec.module.init_args.x"),
        (module_with([0] * 20_001), "InvalidConfiguration", "spec.module.init_args.x"),
        (MISSPELT, "InvalidSpec", "afinity"),
        ({"nodes": 5000}, "InvalidSpec", "spec.nodes"),
    ],
    ids=["too deep", "too much", "misspelt", "a rule of a newer operator"],
)
"""Specs that the API server takes, or took when they were written."""


def take_back(world: World, edit: dict[str, Any]) -> None:
    valid = job()["spec"]
    world.cluster.edit(KIND, *KEY, lambda o: [o["spec"].pop(key) for key in edit])
    world.edit_spec(**{key: valid[key] for key in edit if key in valid})


@only_we_refuse
async def test_an_edit_that_only_the_operator_can_refuse_leaves_the_running_attempt_alone(
    edit: dict[str, Any], reason: str, says: str
) -> None:
    world = World(lambda pod: None)
    world.agent = tells_where_it_is
    world.submit(job(startupDeadlineSeconds=30, activeDeadlineSeconds=100))
    await world.run(runs_attempt(1))
    before = {p["metadata"]["uid"] for p in world.pods().values()}
    world.edit_spec(**edit)
    world.cluster.remove(
        "Service", NAMESPACE, "digits", world.cluster.get("Service", NAMESPACE, "digits")["metadata"]["uid"]
    )
    await world.tick(30)
    assert world.condition("Blocked") == ("True", reason)
    assert all(part in world.message("Blocked") for part in (says, "attempt 1 runs on"))
    assert (world.status.phase, world.condition("Failed")) == (Phase.RUNNING, None)
    assert {p["metadata"]["uid"] for p in world.pods().values()} == before
    assert world.cluster.get("Service", NAMESPACE, "digits"), "what it needs is put back all the same"
    take_back(world, edit)
    await world.tick(2)
    assert world.condition("Blocked") == ("False", "NotBlocked")
    world.kubelets.script = done_after(1)
    await world.finish()
    assert [(e.attempt, e.cause) for e in world.status.ledger] == [(1, Cause.COMPLETED)]


@only_we_refuse
@pytest.mark.parametrize("cause", [Cause.POD_DELETED, Cause.PROCESS_FAILED, Cause.SUSPENDED])
async def test_an_attempt_that_ends_under_such_an_edit_is_followed_by_none_until_it_is_taken_back(
    edit: dict[str, Any], reason: str, says: str, cause: Cause
) -> None:
    """Even where its failure would use up the budget: what the budget is cannot be told."""
    world = World(lambda pod: None)
    world.agent = tells_where_it_is
    world.submit(job(restarts={"maxRestarts": 0}))
    await world.run(runs_attempt(1))
    world.edit_spec(**edit)
    await world.tick(3)
    if cause is Cause.POD_DELETED:
        world.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
    elif cause is Cause.PROCESS_FAILED:
        world.kubelets.script = lambda pod: ends(pod, Outcome.FAILED, Culprit(rank=pod.rank, exit_code=1))
    else:
        world.edit_spec(suspend=True)
        await world.run(lambda w: w.status.phase is Phase.SUSPENDED)
        world.edit_spec(suspend=False)
    await world.tick(30)
    for _ in range(2):
        assert (world.status.phase, world.status.attempt, world.condition("Failed")) == (Phase.BLOCKED, 1, None)
        assert world.condition("Blocked") == ("True", reason)
        assert says in world.message("Blocked")
        assert [(e.attempt, e.cause) for e in world.status.ledger] == [(1, cause)]
        world.restart_operator()
        await world.tick(3)
    world.kubelets.script = done_after(2)
    take_back(world, edit)
    await world.finish()
    assert [(e.attempt, e.cause) for e in world.status.ledger] == [(1, cause), (2, Cause.COMPLETED)]


@only_we_refuse
async def test_an_attempt_whose_pods_are_not_all_made_gives_way_to_such_an_edit(
    edit: dict[str, Any], reason: str, says: str
) -> None:
    world = World(done_after(2))
    code = {"code": {"configMap": {"name": "late"}}}
    world.submit(job(**code))
    await world.tick(3)
    assert world.condition("Blocked") == ("True", "ConfigMapMissing")
    world.edit_spec(**edit)
    await world.tick(3)
    assert (world.status.phase, world.condition("Blocked")) == (Phase.BLOCKED, ("True", reason))
    assert says in world.message("Blocked")
    world.cluster.create({"kind": "ConfigMap", "metadata": {"name": "late", "namespace": NAMESPACE}, "data": {}})
    take_back(world, edit)
    await world.finish()
    assert [(e.attempt, e.cause) for e in world.status.ledger] == [(1, Cause.SPEC_CHANGED), (2, Cause.COMPLETED)]


HOST_PATH = {"spec": {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}}


async def test_a_new_job_that_the_site_denies_waits_for_either_to_change() -> None:
    world = World(done_after(2))
    world.submit(job(podTemplate=HOST_PATH))
    await world.tick(60)
    assert world.condition("Blocked") == ("True", "PolicyDenied")
    said = world.message("Blocked")
    assert "spec.podTemplate.spec.volumes[root].hostPath" in said
    assert "policy.allow: [hostPath]" in said
    assert (world.pods(), world.status.attempt, world.status.phase) == ({}, 0, Phase.BLOCKED)
    assert world.cluster.all("ConfigMap") == world.cluster.all("Service") == []
    world.config = Config(policy=Policy(allow=frozenset(["hostPath"])))
    world.restart_operator()
    await world.finish()
    assert world.status.phase is Phase.COMPLETE


async def test_a_job_that_runs_when_the_site_denies_it_runs_on_and_says_so() -> None:
    world = World(lambda pod: None, config=Config(policy=ALLOW_ALL))
    world.agent = tells_where_it_is
    world.submit(job(podTemplate=HOST_PATH))
    await world.run(runs_attempt(1))
    world.config = Config()
    world.restart_operator()
    await world.tick(20)
    assert world.condition("Blocked") == ("True", "PolicyDenied")
    assert "attempt 1 runs on, another would not begin" in world.message("Blocked")
    assert (world.status.phase, world.events().count("Blocked")) == (Phase.RUNNING, 1)
    assert set(world.pods()) == {"digits-1-0", "digits-1-1"}
    world.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
    await world.tick(60)
    assert (world.status.phase, world.status.attempt) == (Phase.BLOCKED, 1)
    assert all(p["status"]["phase"] != "Running" for p in world.pods().values())
    world.cluster.edit(KIND, NAMESPACE, "digits", lambda o: o["spec"].pop("podTemplate"))
    world.kubelets.script = done_after(2)
    await world.finish()
    assert [(e.attempt, e.cause) for e in world.status.ledger] == [(1, Cause.POD_DELETED), (2, Cause.COMPLETED)]


async def test_a_running_job_is_not_ended_for_a_change_that_the_site_denies() -> None:
    world = World(lambda pod: None)
    world.agent = tells_where_it_is
    world.submit()
    await world.run(runs_attempt(1))
    world.edit_spec(podTemplate={"spec": {"hostNetwork": True}})
    await world.tick(20)
    assert world.condition("Blocked") == ("True", "PolicyDenied")
    assert (world.status.phase, world.status.attempt) == (Phase.RUNNING, 1)


async def test_an_attempt_promised_before_the_site_denied_it_makes_no_pod() -> None:
    world = World(done_after(2), config=Config(policy=ALLOW_ALL))
    world.submit(job(podTemplate=HOST_PATH, code={"configMap": {"name": "late"}}))
    await world.tick(3)
    assert world.condition("Blocked") == ("True", "ConfigMapMissing")
    world.config = Config()
    world.restart_operator()
    world.cluster.create({"kind": "ConfigMap", "metadata": {"name": "late", "namespace": NAMESPACE}, "data": {}})
    await world.tick(10)
    assert world.condition("Blocked") == ("True", "PolicyDenied")
    assert world.pods() == {}
