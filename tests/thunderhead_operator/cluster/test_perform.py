"""Carrying out: what was refused is remembered, what is there is enough, what is gone is gone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest
from op_faults import Flaky, Proxy
from op_world import NAME, NAMESPACE, START, World, job

from thunderhead_api.treaty import KIND
from thunderhead_operator.cluster.errors import ApiError, Conflict, Forbidden, Invalid, Unavailable
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.cluster.perform import Performed, perform, post
from thunderhead_operator.plan.actions import (
    CreateChild,
    CreateKey,
    DeleteChild,
    DeleteJob,
    Notice,
    Rehearse,
    RenewChild,
    WriteStatus,
)
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import Manifest
from thunderhead_operator.plan.observed import RefusalKind


def child(kind: Kind, name: str, uid: str) -> Manifest:
    owner = {"uid": uid, "controller": True, "kind": KIND, "name": NAME}
    return {"metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner]}, "kind": kind.value}


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster(lambda: START)


@pytest.fixture
def owner(cluster: MemoryCluster) -> Manifest:
    return cluster.create(job())


def creates(uid: str) -> list[CreateChild]:
    kinds = (Kind.POD, Kind.POD, Kind.CONFIG_MAP, Kind.SERVICE)
    return [CreateChild(kind, child(kind, f"digits-1-{i}", uid)) for i, kind in enumerate(kinds)]


async def test_pods_come_last(cluster: MemoryCluster, owner: Manifest) -> None:
    order: list[str] = []
    cluster.watch(lambda event, kind, obj: order.append(kind))
    performed = await perform(cluster, owner, creates(owner["metadata"]["uid"]))
    assert performed == Performed(acted=True)
    assert order[2:] == ["Pod", "Pod"]


KEY = CreateKey({"kind": "Secret", "metadata": {"name": "digits-1-key", "labels": {}}}, "attempt.key", "digits-1-2")


async def test_a_key_is_drawn_before_the_pods_and_goes_with_its_attempt(
    cluster: MemoryCluster, owner: Manifest
) -> None:
    order: list[str] = []
    cluster.watch(lambda event, kind, obj: order.append(kind))
    actions = [*creates(owner["metadata"]["uid"]), KEY]
    performed = await perform(cluster, owner, actions, random=lambda size: bytes(range(size)))
    assert performed == Performed(acted=True)
    assert order[2:] == ["Secret", "Pod", "Pod"]
    (secret,) = cluster.all("Secret")
    assert base64.b64decode(secret["data"]["attempt.key"]) == bytes(range(32)).hex().encode()
    assert await perform(cluster, owner, actions) == Performed(acted=True)
    assert cluster.all("Secret") == [secret], "the one that is there stays"
    cluster.remove("ConfigMap", NAMESPACE, "digits-1-2")
    assert cluster.all("Secret") == []


async def test_two_keys_are_never_alike(cluster: MemoryCluster, owner: Manifest) -> None:
    another = replace(KEY, manifest={"kind": "Secret", "metadata": {"name": "another-key"}})
    await perform(cluster, owner, [*creates(owner["metadata"]["uid"]), KEY, another])
    assert len({secret["data"]["attempt.key"] for secret in cluster.all("Secret")}) == 2


@pytest.mark.parametrize("error", [Forbidden("cannot create resource secrets"), Invalid("no")])
async def test_without_its_key_no_pod_is_made(cluster: MemoryCluster, owner: Manifest, error: ApiError) -> None:
    third = iter((None, None, (error, False)))  # after ConfigMap and Service
    flaky = Flaky(cluster, lambda call: next(third) if call == "create_child" else None)
    performed = await perform(flaky, owner, [*creates(owner["metadata"]["uid"]), KEY])
    (refusal,) = performed.refusals
    assert (refusal.kind, refusal.name) == (Kind.SECRET, "digits-1-key")
    assert cluster.all("Pod") == []


async def test_our_own_are_there_already(cluster: MemoryCluster, owner: Manifest) -> None:
    actions = creates(owner["metadata"]["uid"])
    await perform(cluster, owner, actions)
    assert await perform(cluster, owner, actions) == Performed(acted=True)


async def test_a_foreign_child_of_our_name_is_a_refusal(cluster: MemoryCluster, owner: Manifest) -> None:
    stranger = cluster.create(job("stranger"))
    cluster.create(child(Kind.SERVICE, "digits-1-3", stranger["metadata"]["uid"]))
    performed = await perform(cluster, owner, creates(owner["metadata"]["uid"]))
    (refusal,) = performed.refusals
    assert (refusal.why, refusal.name) == (RefusalKind.TAKEN, "digits-1-3")
    assert cluster.all("Pod") == [], "no pod runs without its service"


@pytest.mark.parametrize(
    ("error", "why"), [(Forbidden("exceeded quota"), RefusalKind.FORBIDDEN), (Invalid("no"), RefusalKind.INVALID)]
)
async def test_refusals_say_why(cluster: MemoryCluster, owner: Manifest, error: ApiError, why: RefusalKind) -> None:
    class NoPods(Proxy):
        async def around(self, name, call, args):  # type: ignore[no-untyped-def]  # as the base
            if name == "create_child" and args[0] is Kind.POD:
                raise error
            return await call()

    performed = await perform(NoPods(cluster), owner, creates(owner["metadata"]["uid"]))  # type: ignore[arg-type]  # a proxy
    assert {r.why for r in performed.refusals} == {why}
    assert performed.refusals[0].message == str(error)
    assert len(cluster.all("ConfigMap")) == 1


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (None, None),
        (Invalid("no pod"), RefusalKind.INVALID),
        (Forbidden("violates PodSecurity"), RefusalKind.FORBIDDEN),
        (Forbidden("exceeded quota: one-pod"), None),
    ],
    ids=str,
)
async def test_a_rehearsal_makes_nothing(
    cluster: MemoryCluster, owner: Manifest, error: ApiError | None, why: RefusalKind | None
) -> None:
    api = Flaky(cluster, lambda name: (error, False) if error and name == "rehearse_child" else None)
    question = Rehearse("abc", tuple(creates(owner["metadata"]["uid"])))
    performed = await perform(api, owner, [question])  # type: ignore[arg-type]  # a proxy
    assert performed.rehearsal is not None
    assert performed.rehearsal.spec_hash == "abc"
    refusal = performed.rehearsal.refusal
    assert (refusal and refusal.why) == why
    assert cluster.all("Pod") == cluster.all("ConfigMap") == []


NEW = {"spec": {"policyTypes": ["Ingress"]}}


def takes_first(cluster: MemoryCluster, what: Callable[[Manifest], None] | None) -> Flaky:
    """Somebody changes the policy, or removes it (None), between our read of it and our write."""

    def choose(name: str) -> None:
        if name == "replace_child" and what is None:
            cluster.remove(Kind.NETWORK_POLICY, NAMESPACE, NAME)
        elif name == "replace_child" and what is not None:
            cluster.edit(Kind.NETWORK_POLICY, NAMESPACE, NAME, what)

    return Flaky(cluster, choose)


async def test_a_renewal_overwrites_nobodys_write_and_makes_nothing_anew(
    cluster: MemoryCluster, owner: Manifest
) -> None:
    made = cluster.create(child(Kind.NETWORK_POLICY, NAME, owner["metadata"]["uid"]))
    renewal = RenewChild(Kind.NETWORK_POLICY, child(Kind.NETWORK_POLICY, NAME, owner["metadata"]["uid"]) | NEW)
    with pytest.raises(Conflict):
        await perform(takes_first(cluster, lambda o: o["metadata"].update(labels={"a": "b"})), owner, [renewal])  # type: ignore[arg-type]  # a proxy
    assert "spec" not in cluster.get(Kind.NETWORK_POLICY, NAMESPACE, NAME)
    assert await perform(cluster, owner, [renewal]) == Performed(acted=True)
    found = cluster.get(Kind.NETWORK_POLICY, NAMESPACE, NAME)
    assert (found["metadata"]["uid"], found["spec"]) == (made["metadata"]["uid"], NEW["spec"])
    assert found["metadata"]["labels"] == {"a": "b"}
    assert await perform(takes_first(cluster, None), owner, [renewal]) == Performed(acted=True)  # type: ignore[arg-type]  # a proxy
    assert cluster.all(Kind.NETWORK_POLICY) == []
    assert await perform(cluster, owner, [renewal]) == Performed(acted=True)
    assert cluster.all(Kind.NETWORK_POLICY) == []
    stranger = cluster.create(job("stranger"))
    theirs = cluster.create(child(Kind.NETWORK_POLICY, NAME, stranger["metadata"]["uid"]))
    assert await perform(cluster, owner, [renewal]) == Performed(acted=True)
    assert cluster.all(Kind.NETWORK_POLICY) == [theirs]


async def test_what_is_gone_or_another_is_left(cluster: MemoryCluster, owner: Manifest) -> None:
    cluster.create(child(Kind.POD, "digits-1-0", owner["metadata"]["uid"]))
    actions = [
        DeleteChild(Kind.POD, "digits-1-0", "another", 0),
        DeleteChild(Kind.POD, "nowhere", "x", 0),
        DeleteJob("another"),
    ]
    assert await perform(cluster, owner, actions) == Performed(acted=True)
    assert len(cluster.all("Pod")) == len(cluster.all(KIND)) == 1


async def test_a_write_does_nothing_else(cluster: MemoryCluster, owner: Manifest) -> None:
    write = WriteStatus({"attempt": 1}, owner["metadata"]["resourceVersion"])
    performed = await perform(cluster, owner, [write, *creates(owner["metadata"]["uid"])])
    assert performed.job is not None
    assert performed.job["status"] == {"attempt": 1}
    assert cluster.all("Pod") == []


async def test_events_are_told_once_and_at_best_effort(cluster: MemoryCluster, owner: Manifest) -> None:
    notices = [Notice("AttemptStarted", "attempt 1"), Notice("Blocked", "x" * 3000, warning=True)]
    await post(cluster, owner, notices, START)
    await post(cluster, owner, notices, START)
    first, second = cluster.all("Event")
    assert (first["reason"], first["type"], first["regarding"]["uid"]) == (
        "AttemptStarted",
        "Normal",
        owner["metadata"]["uid"],
    )
    assert second["type"] == "Warning"
    assert len(second["note"].encode()) <= 1024
    broken = Flaky(cluster, lambda name: (Unavailable("down"), False))
    await post(broken, owner, notices, START)  # type: ignore[arg-type]  # a proxy


async def test_an_error_is_raised_when_all_calls_have_ended(cluster: MemoryCluster, owner: Manifest) -> None:
    failing = Flaky(cluster, lambda name: (Unavailable("down"), True) if name == "create_child" else None)
    with pytest.raises(Unavailable):
        await perform(failing, owner, creates(owner["metadata"]["uid"]))  # type: ignore[arg-type]  # a proxy
    assert len(cluster.all("ConfigMap")) == len(cluster.all("Service")) == 1


async def test_blocked_names_what_is_in_the_way_and_heals() -> None:
    world = World()
    stranger = world.cluster.create(job("stranger", suspend=True))
    taken = child(Kind.POD, "digits-1-1", stranger["metadata"]["uid"])
    world.cluster.create(taken)
    world.submit()
    await world.drain()
    assert world.condition("Blocked") == ("True", "NameTaken")
    assert "digits-1-1" in world.message("Blocked")
    world.cluster.delete_pod(NAMESPACE, "digits-1-1")
    await world.tick(3)
    assert world.condition("Blocked") == ("False", "NotBlocked")
    await world.finish()
    assert world.condition("Complete") is not None
