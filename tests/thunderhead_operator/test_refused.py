"""Children that the API server does not take: whose fault it is, and that it heals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count, pairwise
from typing import Any

import pytest
from op_agent import runs_attempt, tells_where_it_is
from op_faults import Proxy
from op_kubelet import done_after
from op_world import KEY, NAMESPACE, World, job

from thunderhead_api.treaty import Cause, Phase
from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import ApiError, Forbidden, Invalid
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.kinds import Kind

Call = Callable[[], Awaitable[Any]]


class Refuses(Proxy):
    """An API server that takes no new ``kind``, while one is set."""

    calls: tuple[str, ...] = ("create_child",)

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        self.tried = 0
        self.kind: Kind | None = None
        self.error = ApiError("")

    async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        if name in self.calls and args[0] is self.kind:
            self.tried += 1
            raise self.error
        return await call()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Invalid("spec.ingress[1].from[0]: Invalid value"), "networkPolicy.agentPeers"),
        (Forbidden("denied by policy"), "denied by policy"),
    ],
    ids=["invalid", "forbidden"],
)
@pytest.mark.parametrize("kind", [Kind.SERVICE, Kind.NETWORK_POLICY])
@pytest.mark.parametrize("healed_by", ["the operator", "somebody else"])
async def test_a_child_of_a_running_job_that_cannot_be_put_back_ends_nothing(
    kind: Kind, error: ApiError, says: str, healed_by: str
) -> None:
    world = World(lambda pod: None, wrap=Refuses)
    server = world.api
    assert isinstance(server, Refuses)
    world.agent = tells_where_it_is
    world.submit(job(restarts={"maxRestarts": 0}))
    await world.run(runs_attempt(1))
    pods = {p["metadata"]["uid"] for p in world.pods().values()}
    (lost,) = world.cluster.all(kind)
    server.kind, server.error = kind, error
    world.cluster.remove(kind, NAMESPACE, lost["metadata"]["name"], lost["metadata"]["uid"])
    await world.tick(30)
    assert world.condition("Blocked") == ("True", "Forbidden")
    said = world.message("Blocked")
    assert said.startswith(f"attempt 1 runs on without {kind} {lost['metadata']['name']}: {error}")
    assert "podTemplate" not in said
    assert (says in said) is (kind is Kind.NETWORK_POLICY or says == "denied by policy")
    assert (world.status.phase, world.condition("Failed")) == (Phase.RUNNING, None)
    assert {p["metadata"]["uid"] for p in world.pods().values()} == pods
    if healed_by == "the operator":
        server.kind = None
    else:
        world.cluster.create({key: lost[key] for key in ("kind", "spec")} | {"metadata": cleaned(lost["metadata"])})
    await world.tick(3)
    assert world.condition("Blocked") == ("False", "NotBlocked")
    world.kubelets.script = done_after(1)
    await world.finish()
    assert world.status.phase is Phase.COMPLETE


class RefusesRenewal(Refuses):
    """An API server that lets no ``kind`` be changed."""

    calls = ("replace_child",)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Invalid("spec.ingress[1].from[0]: Invalid value"), "networkPolicy.agentPeers"),
        (Forbidden('cannot update resource "networkpolicies"'), "cannot update resource"),
    ],
    ids=["invalid", "forbidden"],
)
async def test_a_policy_that_cannot_be_renewed_is_told_and_stands_in_the_way_of_nothing(
    error: ApiError, says: str
) -> None:
    world = World(lambda pod: None, wrap=RefusesRenewal)
    server = world.api
    assert isinstance(server, RefusesRenewal)
    world.agent = tells_where_it_is
    world.submit(job(restarts={"maxRestarts": 0}))
    await world.run(runs_attempt(1))
    before = world.cluster.get("NetworkPolicy", NAMESPACE, "digits")
    server.kind, server.error = Kind.NETWORK_POLICY, error
    world.config = Config(agent_peers=({"podSelector": {}},))
    world.restart_operator()
    await world.tick(60)
    assert world.condition("Blocked") == ("True", "Forbidden")
    said = world.message("Blocked")
    assert said.startswith("attempt 1 runs on with the NetworkPolicy of before, the new one is refused: NetworkPolicy")
    assert says in said
    assert (world.status.phase, world.events().count("Blocked")) == (Phase.RUNNING, 1)
    assert 6 <= server.tried <= 14, "every 10 s, and with what is written"
    world.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
    await world.run(runs_attempt(2), limit=10)
    assert world.status.phase is Phase.RUNNING, "the next attempt begins with it as well"
    assert world.cluster.get("NetworkPolicy", NAMESPACE, "digits") == before
    server.kind = None
    await world.tick(11)
    assert world.condition("Blocked") == ("False", "NotBlocked")
    renewed = world.cluster.get("NetworkPolicy", NAMESPACE, "digits")
    assert renewed["spec"]["ingress"][1]["from"] == [{"podSelector": {}}]
    world.kubelets.script = done_after(1)
    await world.finish()
    assert world.status.phase is Phase.COMPLETE


def cleaned(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in ("uid", "resourceVersion")}


class RefusesNew(Refuses):
    """An API server that takes no new ``kind`` with the image of a job, were it only asked."""

    calls = ("create_child", "rehearse_child")

    async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        good = name in self.calls and args[0] is Kind.POD and args[2]["spec"]["containers"][0]["image"] == "good:1"
        return await (call() if good else super().around(name, call, args))


def heal_by_edit(world: World, server: Refuses) -> None:
    world.edit_spec(image="good:1")


def heal_by_server(world: World, server: Refuses) -> None:
    server.kind = None


def heal_by_suspending(world: World, server: Refuses) -> None:
    """It is made anew when it is resumed."""
    server.kind = None
    world.edit_spec(suspend=True)


@pytest.mark.parametrize("heal", [heal_by_edit, heal_by_server, heal_by_suspending])
@pytest.mark.parametrize("attempt", [1, 2], ids=["first", "recovery"])
async def test_a_job_whose_pods_are_invalid_waits_for_either_to_change(
    attempt: int, heal: Callable[[World, Refuses], None]
) -> None:
    """However long: no clock of the job's runs meanwhile, and no budget is spent."""
    world = World(lambda pod: None, wrap=RefusesNew)
    server = world.api
    assert isinstance(server, RefusesNew)
    world.agent = tells_where_it_is
    limits = {"restarts": {"maxRestarts": 0}, "startupDeadlineSeconds": 30, "activeDeadlineSeconds": 100}
    world.submit(job(**limits))
    if attempt == 2:
        await world.run(runs_attempt(1))
    server.kind, server.error = Kind.POD, Invalid("spec.containers[0].image: Invalid value")
    if attempt == 2:
        world.cluster.delete_pod(NAMESPACE, "digits-1-0", grace_s=0)
    await world.tick(20)
    for _ in range(2):
        server.tried = 0
        await world.tick(60)
        assert (world.condition("Blocked"), world.condition("Failed")) == (("True", "InvalidPod"), None)
        said = "of this spec, correct it (spec.podTemplate): spec.containers[0].image: Invalid value"
        assert said in world.message("Blocked")
        assert (world.status.phase, world.status.attempt) == (Phase.BLOCKED, attempt)
        assert 6 <= server.tried <= 8, "asked every 10 s, and when a process begins"
        world.restart_operator()
    assert world.events().count("Blocked") == 1
    heal(world, server)
    world.kubelets.script = done_after(2)
    if heal is heal_by_suspending:
        await world.run(lambda w: w.status.phase is Phase.SUSPENDED)
        world.edit_spec(suspend=False)
    await world.finish()
    assert (world.status.phase, world.condition("Blocked")) == (Phase.COMPLETE, ("False", "NotBlocked"))
    assert [e.cause for e in world.status.ledger] == [Cause.POD_DELETED, Cause.COMPLETED][-attempt:]
    spent = world.status.goodput and world.status.goodput.time
    assert spent is not None
    if heal is not heal_by_suspending:
        assert 130 <= (spent.queued or 0) <= 145, "no more of it is counted than went by, and none as lost"
    assert world.status.restarts.charged == 0


async def test_what_is_refused_in_earnest_and_not_in_rehearsal_is_tried_more_and_more_seldom() -> None:
    world = World(done_after(2), wrap=Refuses)
    server = world.api
    assert isinstance(server, Refuses)
    server.kind, server.error = Kind.POD, Invalid("denied by a webhook that takes no part in dry runs")
    world.submit()
    began = {}
    for second in range(1000):
        await world.tick()
        began.setdefault(world.status.attempt, second)
    first, *rest = began.values()
    gaps = [later - sooner for sooner, later in pairwise([first, *rest])]
    assert [round(gap, -1) for gap in gaps] == [10, 20, 40, 80, 160, 300, 300]
    assert world.condition("Blocked") == ("True", "InvalidPod")
    server.kind = None
    await world.finish(310)
    assert world.status.phase is Phase.COMPLETE
    assert [(e.cause, e.free) for e in world.status.ledger] == [(Cause.COMPLETED, True)]


class RefusesSecond(Refuses):
    """An API server that takes the first pod of an attempt and no other."""

    async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        is_second = name == "create_child" and args[0] is self.kind and args[2]["metadata"]["name"].endswith("-1")
        if is_second:
            raise self.error
        return await call()


async def test_an_attempt_of_which_some_pods_are_refused_waits_with_those_it_has() -> None:
    world = World(done_after(2), wrap=RefusesSecond)
    server = world.api
    assert isinstance(server, RefusesSecond)
    server.kind, server.error = Kind.POD, Invalid("spec.nodeName: Invalid value")
    world.submit()
    await world.tick(30)
    assert list(world.pods()) == ["digits-1-0"]
    assert (world.condition("Blocked"), world.condition("Failed")) == (("True", "InvalidPod"), None)
    server.kind = None
    await world.run(lambda w: len(w.pods()) == 2, limit=3)
    assert world.status.attempt == 1


@pytest.mark.parametrize(
    ("kind", "reason", "says"),
    [
        (Kind.POD, "InvalidPod", "Pod digits-2-0 of this spec, correct it (spec.podTemplate): spec: Invalid value"),
        (Kind.CONFIG_MAP, "InvalidPod", "of this spec, correct it: spec: Invalid value"),
        (Kind.SERVICE, "Forbidden", "Service digits: spec: Invalid value"),
        (Kind.NETWORK_POLICY, "Forbidden", "NetworkPolicy digits: spec: Invalid value"),
        (Kind.SECRET, "Forbidden", "spec: Invalid value"),
    ],
)
async def test_only_what_is_made_of_the_spec_says_that_the_spec_is_wrong(kind: Kind, reason: str, says: str) -> None:
    world = World(done_after(2), wrap=RefusesNew)
    server = world.api
    assert isinstance(server, RefusesNew)
    server.kind, server.error = kind, Invalid("spec: Invalid value")
    world.submit()
    await world.tick(30)
    assert (world.condition("Failed"), world.condition("Blocked")) == (None, ("True", reason))
    assert says in world.message("Blocked")
    assert ("podTemplate" in world.message("Blocked")) is (kind is Kind.POD)
    if reason == "InvalidPod":
        return
    server.kind = Kind.POD
    server.error = Forbidden("exceeded quota")
    await world.tick(5)
    assert world.condition("Blocked") == ("True", "QuotaExceeded"), "the pods come after it"


class WordsEachAnew(Proxy):
    """An admission webhook that puts another id into each of its denials of ``image`` or of any ``kind``."""

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        self.image: str | None = None
        self.kind: Kind | None = None
        self.error: type[ApiError] = Forbidden
        self.ids = count()
        self.asked: list[str] = []

    async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        if name not in ("create_child", "rehearse_child"):
            return await call()
        kind, _, manifest = args
        if kind is Kind.POD or kind is self.kind:
            self.asked.append(f"{name} {kind}")
        if kind is self.kind or (kind is Kind.POD and manifest["spec"]["containers"][0]["image"] == self.image):
            raise self.error(f"denied (request {next(self.ids)})")
        return await call()


@pytest.mark.parametrize(("error", "reason"), [(Forbidden, "Forbidden"), (Invalid, "InvalidPod")])
async def test_a_refused_change_is_asked_about_at_its_rate_however_often_the_job_is_looked_at(
    error: type[ApiError], reason: str
) -> None:
    world = World(lambda pod: None, wrap=WordsEachAnew)
    world.agent = tells_where_it_is
    server = world.api
    assert isinstance(server, WordsEachAnew)
    server.image, server.error = "denied:1", error
    world.submit()
    await world.run(runs_attempt(1))
    server.asked.clear()
    world.edit_spec(image="denied:1")
    for _ in range(60):
        world.dirty[KEY] = None
        await world.tick()
    assert server.asked.count("rehearse_child Pod") in (6, 7), "every 10 s"
    assert world.condition("Blocked") == ("True", reason)
    assert world.message("Blocked").endswith(f"denied (request {next(server.ids) - 1})"), "the newest words"
    server.image = None
    await world.run(lambda w: w.status.attempt == 2 or w.status.ending is not None, limit=11)


async def test_another_change_is_asked_about_at_once() -> None:
    world = World(lambda pod: None, wrap=WordsEachAnew)
    world.agent = tells_where_it_is
    server = world.api
    assert isinstance(server, WordsEachAnew)
    server.image = "denied:1"
    world.submit()
    await world.run(runs_attempt(1))
    world.edit_spec(image="denied:1")
    await world.tick(2)
    assert world.condition("Blocked") == ("True", "Forbidden")
    world.edit_spec(image="fine:1")
    await world.tick(1)
    assert world.status.ending is not None


async def test_a_refused_child_is_tried_at_its_rate_however_its_refusal_is_worded() -> None:
    world = World(done_after(2), wrap=WordsEachAnew)
    server = world.api
    assert isinstance(server, WordsEachAnew)
    server.kind = Kind.SERVICE
    world.submit()
    await world.tick(60)
    assert 25 <= server.asked.count("create_child Service") <= 45, "every 2 s, and with each write of the newest words"
    server.kind = None
    await world.finish()
    assert world.status.phase is Phase.COMPLETE


async def test_a_pass_that_asks_of_a_change_remembers_what_else_was_refused() -> None:
    world = World(lambda pod: None, wrap=WordsEachAnew)
    world.agent = tells_where_it_is
    server = world.api
    assert isinstance(server, WordsEachAnew)
    world.submit()
    await world.run(runs_attempt(1))
    (lost,) = world.cluster.all(Kind.SERVICE)
    server.image, server.kind = "denied:1", Kind.SERVICE
    world.cluster.remove(Kind.SERVICE, NAMESPACE, lost["metadata"]["name"], lost["metadata"]["uid"])
    world.edit_spec(image="denied:1")
    server.asked.clear()
    await world.tick(60)
    assert [refusal.kind for refusal in world.reconciler.memories[KEY].refusals] == [Kind.SERVICE]
    assert 25 <= server.asked.count("create_child Service") <= 45
    assert server.asked.count("rehearse_child Pod") in (6, 7)
