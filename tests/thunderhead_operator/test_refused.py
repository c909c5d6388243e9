"""Children that the API server does not take: whose fault it is, and that it heals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from op_agent import runs_attempt, tells_where_it_is
from op_faults import Proxy
from op_kubelet import done_after
from op_world import NAMESPACE, World, job

from thunderhead_api.treaty import Phase
from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import ApiError, Forbidden, Invalid
from thunderhead_operator.plan.actions import Kind

Call = Callable[[], Awaitable[Any]]


class Refuses(Proxy):
    """An API server that takes no new ``kind``, while one is set."""

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        self.kind: Kind | None = None
        self.error = ApiError("")

    async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        if name == "create_child" and args[0] is self.kind:
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


def cleaned(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in ("uid", "resourceVersion")}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Kind.POD, "the API server refuses Pod digits-1-0, look at podTemplate: spec: Invalid value"),
        (Kind.CONFIG_MAP, "the API server refuses ConfigMap"),
        (Kind.SERVICE, None),
        (Kind.NETWORK_POLICY, None),
        (Kind.SECRET, None),
    ],
)
async def test_only_what_is_made_of_the_spec_says_that_the_spec_is_wrong(kind: Kind, says: str | None) -> None:
    world = World(done_after(2), wrap=Refuses)
    server = world.api
    assert isinstance(server, Refuses)
    server.kind, server.error = kind, Invalid("spec: Invalid value")
    world.submit()
    await world.tick(30)
    if says is not None:
        assert world.condition("Failed") == ("True", "InvalidConfiguration")
        assert says in world.message("Failed")
        assert ("podTemplate" in world.message("Failed")) is (kind is Kind.POD)
        return
    assert (world.condition("Failed"), world.condition("Blocked")) == (None, ("True", "Forbidden"))
    assert "podTemplate" not in world.message("Blocked")
    server.kind = Kind.POD
    server.error = Forbidden("exceeded quota")
    await world.tick(5)
    assert world.condition("Blocked") == ("True", "QuotaExceeded"), "the pods come after it"
