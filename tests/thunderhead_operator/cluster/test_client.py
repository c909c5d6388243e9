"""The client against HTTP: verbs, paths, preconditions, pages, and every error by what can be done about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes.aio.client import Configuration
from op_server import ApiServer
from op_world import NAME, NAMESPACE, job

from thunderhead_api.treaty import Label
from thunderhead_operator.cluster import client
from thunderhead_operator.cluster.client import KubernetesCluster, make_client
from thunderhead_operator.cluster.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
)
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.cluster.pace import Pace
from thunderhead_operator.plan.kinds import Kind

PLACE = NAMESPACE, NAME


@pytest.fixture
def memory() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
def server(memory: MemoryCluster) -> ApiServer:
    return ApiServer(memory)


@pytest.fixture
def calls() -> list[tuple[str, int]]:
    return []


@pytest.fixture
async def api(server: ApiServer, calls: list[tuple[str, int]]) -> AsyncIterator[KubernetesCluster]:
    async with server.serve() as url:
        made = KubernetesCluster(make_client(Configuration(host=url)), lambda *call: calls.append(call))
        yield made
        await made.close()


class Counted(Pace):
    """A pace that counts turns and makes nobody wait."""

    turns = 0

    async def turn(self) -> None:
        self.turns += 1


async def test_calls_have_their_pace_and_the_lease_none(server: ApiServer, memory: MemoryCluster) -> None:
    memory.create(job())
    memory.create({"kind": "Lease", "metadata": {"name": "lease", "namespace": NAMESPACE}})
    pace = Counted(1, 1)
    async with server.serve() as url:
        api = KubernetesCluster(make_client(Configuration(host=url)), pace=pace)
        await api.get_job(*PLACE)
        assert pace.turns == 1
        await api.get_lease(NAMESPACE, "lease")
        assert pace.turns == 1, "a renewal that waited behind a thousand reads would lose the lease"
        await api.close()


READABLE = [kind for kind in Kind if kind is not Kind.SECRET]


def child(kind: str, name: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "labels": {Label.JOB.value: NAME}}}


async def test_a_job_is_read_written_and_deleted(api: KubernetesCluster, memory: MemoryCluster) -> None:
    made = memory.create(job())
    found = await api.get_job(*PLACE)
    assert found == made
    written = await api.patch_job_status(*PLACE, {"attempt": 1}, found["metadata"]["resourceVersion"])
    assert written["status"] == {"attempt": 1}
    with pytest.raises(Conflict):
        await api.patch_job_status(*PLACE, {"attempt": 2}, found["metadata"]["resourceVersion"])
    with pytest.raises(Conflict):
        await api.delete_job(*PLACE, "another")
    await api.delete_job(*PLACE, made["metadata"]["uid"])
    with pytest.raises(NotFound, match="digits"):
        await api.get_job(*PLACE)


@pytest.mark.parametrize("kind", READABLE)
async def test_children_are_created_once_and_deleted_by_uid(
    api: KubernetesCluster, memory: MemoryCluster, kind: Kind
) -> None:
    made = await api.create_child(kind, NAMESPACE, child(kind, "digits-1-0"))
    with pytest.raises(AlreadyExists):
        await api.create_child(kind, NAMESPACE, child(kind, "digits-1-0"))
    assert await api.get_child(kind, NAMESPACE, "digits-1-0") == made
    with pytest.raises(Conflict):
        await api.delete_child(kind, NAMESPACE, "digits-1-0", "another", 0)
    await api.delete_child(kind, NAMESPACE, "digits-1-0", made["metadata"]["uid"], 0)
    assert memory.all(kind) == []


async def test_a_rehearsal_is_asked_as_a_dry_run(api: KubernetesCluster, memory: MemoryCluster) -> None:
    await api.rehearse_child(Kind.POD, NAMESPACE, child(Kind.POD, "digits-2-0"))
    assert memory.all(Kind.POD) == []


async def test_a_secret_is_created_once_and_its_content_is_not_ours_to_read(
    api: KubernetesCluster, memory: MemoryCluster
) -> None:
    await api.create_child(Kind.SECRET, NAMESPACE, child(Kind.SECRET, "digits-1-key"))
    with pytest.raises(AlreadyExists):
        await api.create_child(Kind.SECRET, NAMESPACE, child(Kind.SECRET, "digits-1-key"))
    with pytest.raises(Forbidden):
        await memory.get_child(Kind.SECRET, NAMESPACE, "digits-1-key")


async def test_a_pod_keeps_its_grace(api: KubernetesCluster, memory: MemoryCluster) -> None:
    made = await api.create_child(Kind.POD, NAMESPACE, child("Pod", "digits-1-0"))
    memory.set_pod_status(NAMESPACE, "digits-1-0", {"phase": "Running"}, node="node-0")
    await api.delete_child(Kind.POD, NAMESPACE, "digits-1-0", made["metadata"]["uid"], 7)
    assert memory.get("Pod", NAMESPACE, "digits-1-0")["metadata"]["deletionGracePeriodSeconds"] == 7


async def test_children_of_one_job_only(api: KubernetesCluster, memory: MemoryCluster) -> None:
    for kind in READABLE:
        memory.create(child(kind, f"mine-{kind.lower()}"))
        other = child(kind, f"other-{kind.lower()}")
        other["metadata"]["labels"] = {Label.JOB.value: "another"}
        memory.create(other)
    for kind in (Kind.SERVICE, Kind.NETWORK_POLICY):
        memory.create(child(kind, NAME))
    found = await api.list_children(*PLACE)
    names = {kind: [o["metadata"]["name"] for o in objects] for kind, objects in found.items()}
    assert names == {"Pod": ["mine-pod"], "ConfigMap": ["mine-configmap"], "Service": [NAME], "NetworkPolicy": [NAME]}
    assert len(await api.list_labelled(Kind.POD, None)) == 2


async def test_lists_come_in_pages(api: KubernetesCluster, memory: MemoryCluster, server: ApiServer) -> None:
    server.page = 3
    for number in range(8):
        memory.create(job(f"job-{number}"))
    found = await api.list_jobs(None)
    assert [o["metadata"]["name"] for o in found] == [f"job-{n}" for n in range(8)]
    assert len(server.requests) == 3


async def test_pages_are_as_long_as_they_may_be(
    api: KubernetesCluster, memory: MemoryCluster, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PAGE_BYTES", 100_000)
    for number in range(20):
        large = child("Pod", f"digits-1-{number}")
        large["metadata"]["annotations"] = {"a": "x" * 30_000}
        memory.create(large)
    found = (await api.list_children(*PLACE))[Kind.POD]
    assert len(found) == 20
    assert not any("annotations" in pod["metadata"] for pod in found)
    monkeypatch.setattr(client, "_LIST_BYTES", 400_000)
    with pytest.raises(Unavailable, match="job=digits in namespace team have more than 400000 bytes"):
        await api.list_children(*PLACE)


async def test_labels_alone_load_nothing(api: KubernetesCluster, memory: MemoryCluster, server: ApiServer) -> None:
    for number in range(200):
        memory.create(child("ConfigMap", f"forged-{number}") | {"data": {"a": "y" * 200_000}})
    before = server.sent
    found = (await api.list_children(*PLACE))[Kind.CONFIG_MAP]
    assert len(found) == 200
    assert all(found.keys() == {"metadata"} for found in found)
    assert server.sent - before < 500_000


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
async def test_half_an_answer_is_no_answer(api: KubernetesCluster, server: ApiServer, text: str) -> None:
    server.raw_next = [text]
    with pytest.raises(Unavailable, match="no JSON object"):
        await api.list_children(*PLACE)


async def test_a_job_without_its_history(api: KubernetesCluster, memory: MemoryCluster) -> None:
    made = job()
    made["metadata"]["managedFields"] = [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]
    memory.create(made)
    assert "managedFields" not in (await api.get_job(*PLACE))["metadata"]


async def test_a_lease_is_replaced_only_as_it_was_read(api: KubernetesCluster) -> None:
    body = {"metadata": {"name": "l", "namespace": NAMESPACE}, "spec": {"holderIdentity": "a"}}
    made = await api.create_lease(NAMESPACE, body)
    again = await api.replace_lease(NAMESPACE, "l", {**made, "spec": {"holderIdentity": "b"}})
    assert again["spec"]["holderIdentity"] == "b"
    with pytest.raises(Conflict):
        await api.replace_lease(NAMESPACE, "l", dict(made))
    assert (await api.get_lease(NAMESPACE, "l"))["spec"] == {"holderIdentity": "b"}


async def test_a_child_is_replaced_only_as_it_was_read(api: KubernetesCluster, memory: MemoryCluster) -> None:
    memory.create(child("NetworkPolicy", NAME))
    read = await api.get_child(Kind.NETWORK_POLICY, *PLACE)
    again = await api.replace_child(Kind.NETWORK_POLICY, *PLACE, {**read, "spec": {"policyTypes": ["Ingress"]}})
    assert again["spec"] == memory.get("NetworkPolicy", *PLACE)["spec"] == {"policyTypes": ["Ingress"]}
    with pytest.raises(Conflict):
        await api.replace_child(Kind.NETWORK_POLICY, *PLACE, dict(read))


ERRORS: list[tuple[int, dict[str, str], str, type[ApiError]]] = [
    (400, {}, "BadRequest", Invalid),
    (401, {}, "Unauthorized", Forbidden),
    (403, {}, "Forbidden", Forbidden),
    (404, {}, "NotFound", NotFound),
    (409, {}, "AlreadyExists", AlreadyExists),
    (409, {}, "Conflict", Conflict),
    (422, {}, "Invalid", Invalid),
    (429, {"Retry-After": "3"}, "TooManyRequests", Throttled),
    (500, {}, "InternalError", Unavailable),
    (503, {}, "", Unavailable),
]


@pytest.mark.parametrize(("status", "headers", "reason", "kind"), ERRORS)
async def test_errors_by_meaning(
    api: KubernetesCluster,
    server: ApiServer,
    calls: list[tuple[str, int]],
    status: int,
    headers: dict[str, str],
    reason: str,
    kind: type[ApiError],
) -> None:
    server.fail_next = [(status, headers, {"reason": reason, "message": "the server's words"})]
    with pytest.raises(kind, match="the server's words") as caught:
        await api.get_job(*PLACE)
    assert type(caught.value) is kind
    assert caught.value.retry_after_s == (3.0 if headers else None)
    assert calls == [("GET", status)]
    assert len(server.requests) == 1, "never repeated behind our back"


async def test_no_answer_is_unavailable(calls: list[tuple[str, int]]) -> None:
    nobody = make_client(Configuration(host="http://127.0.0.1:1"))
    api = KubernetesCluster(nobody, lambda *call: calls.append(call))
    with pytest.raises(Unavailable):
        await api.get_job(*PLACE)
    await api.close()
    assert calls == [("GET", 0)]


async def test_events_are_posted(api: KubernetesCluster, memory: MemoryCluster) -> None:
    await api.post_event(NAMESPACE, {"metadata": {"name": "e", "namespace": NAMESPACE}})
    assert [o["metadata"]["name"] for o in memory.all("Event")] == ["e"]


def test_it_implements_the_protocol_as_the_memory_cluster_does() -> None:
    from thunderhead_operator.cluster.api import ClusterApi

    wanted = {name for name in vars(ClusterApi) if not name.startswith("_")}
    for kind in (KubernetesCluster, MemoryCluster):
        assert wanted <= set(dir(kind))
