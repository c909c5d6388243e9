"""The memory cluster keeps the API server's rules that everything else relies on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from op_world import NAME, NAMESPACE, START, job

from thunderhead_api.treaty import KIND
from thunderhead_operator.cluster.errors import AlreadyExists, Conflict, NotFound
from thunderhead_operator.cluster.memory import MemoryCluster, merged
from thunderhead_operator.plan.objects import Manifest

PLACE = NAMESPACE, NAME


class Clock:
    seconds = 0.0

    def __call__(self) -> Any:
        return START + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> MemoryCluster:
    return MemoryCluster(clock)


def child(kind: str, name: str, owner: Manifest | None = None, **spec: Any) -> Manifest:
    owners = [{"uid": owner["metadata"]["uid"], "controller": True}] if owner else []
    return {"kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": owners}, "spec": spec}


def bound(cluster: MemoryCluster, name: str = "p", grace: int = 30) -> Manifest:
    cluster.create(child("Pod", name, terminationGracePeriodSeconds=grace))
    return cluster.set_pod_status(NAMESPACE, name, {"phase": "Running"}, node="n")


def due(cluster: MemoryCluster) -> str | None:
    found: str | None = cluster.get("Pod", NAMESPACE, "p")["metadata"].get("deletionTimestamp")
    return found


def test_names_are_taken_uids_never_used_again(cluster: MemoryCluster) -> None:
    first = cluster.create(job())
    with pytest.raises(AlreadyExists):
        cluster.create(job())
    cluster.remove(KIND, *PLACE)
    assert cluster.create(job())["metadata"]["uid"] != first["metadata"]["uid"]


async def test_versions_guard_status(cluster: MemoryCluster) -> None:
    old = cluster.create(job())["metadata"]["resourceVersion"]
    new = await cluster.patch_job_status(*PLACE, {"attempt": 1}, old)
    assert int(new["metadata"]["resourceVersion"]) > int(old)
    assert new["metadata"]["generation"] == 1, "status is a subresource"
    with pytest.raises(Conflict):
        await cluster.patch_job_status(*PLACE, {"attempt": 2}, old)


def test_an_edited_spec_is_a_new_generation(cluster: MemoryCluster) -> None:
    cluster.create(job())
    assert cluster.edit(KIND, *PLACE, lambda o: o["spec"].update(seed=1))["metadata"]["generation"] == 2


def test_what_is_handed_out_is_a_copy(cluster: MemoryCluster) -> None:
    cluster.create(job())["spec"]["nodes"] = 99
    cluster.get(KIND, *PLACE)["spec"]["nodes"] = 99
    assert cluster.get(KIND, *PLACE)["spec"]["nodes"] == 2


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pods_that_run_nothing_go_at_once(cluster: MemoryCluster, phase: str) -> None:
    cluster.create(child("Pod", "unbound"))
    cluster.delete_pod(NAMESPACE, "unbound")
    bound(cluster, "stopped")
    cluster.set_pod_status(NAMESPACE, "stopped", {"phase": phase})
    cluster.delete_pod(NAMESPACE, "stopped")
    assert cluster.all("Pod") == []


def test_a_running_pod_waits_for_its_kubelet(cluster: MemoryCluster) -> None:
    uid = bound(cluster)["metadata"]["uid"]
    cluster.delete_pod(NAMESPACE, "p")
    assert due(cluster) == "2026-01-01T00:00:30Z"
    cluster.confirm_deleted(NAMESPACE, "p", "another")
    assert len(cluster.all("Pod")) == 1
    cluster.confirm_deleted(NAMESPACE, "p", uid)
    assert cluster.all("Pod") == []


def test_a_kubelet_cannot_remove_what_nobody_deleted(cluster: MemoryCluster) -> None:
    cluster.confirm_deleted(NAMESPACE, "p", bound(cluster)["metadata"]["uid"])
    assert len(cluster.all("Pod")) == 1


def test_grace_is_shortened_never_extended(cluster: MemoryCluster, clock: Clock) -> None:
    bound(cluster)
    cluster.delete_pod(NAMESPACE, "p")
    clock.seconds = 10
    cluster.delete_pod(NAMESPACE, "p", grace_s=60)
    assert due(cluster) == "2026-01-01T00:00:30Z"
    cluster.delete_pod(NAMESPACE, "p", grace_s=5)
    assert due(cluster) == "2026-01-01T00:00:05Z", "counted from the first request"
    cluster.delete_pod(NAMESPACE, "p", grace_s=0)
    assert cluster.all("Pod") == []


def test_uids_guard_deletion(cluster: MemoryCluster) -> None:
    bound(cluster)
    with pytest.raises(Conflict):
        cluster.delete_pod(NAMESPACE, "p", uid="another", grace_s=0)
    with pytest.raises(NotFound):
        cluster.delete_pod(NAMESPACE, "q")


def test_children_go_with_their_owner(cluster: MemoryCluster) -> None:
    owner = cluster.create(job())
    cluster.create(child("ConfigMap", "m", owner))
    cluster.create(child("Pod", "running", owner))
    cluster.set_pod_status(NAMESPACE, "running", {"phase": "Running"}, node="n")
    cluster.create(child("ConfigMap", "stranger"))
    cluster.remove(KIND, *PLACE)
    assert [o["metadata"]["name"] for o in cluster.all("ConfigMap")] == ["stranger"]
    assert "deletionTimestamp" in cluster.get("Pod", NAMESPACE, "running")["metadata"], "pods keep their grace"


def test_a_child_of_an_owner_that_is_gone_goes_too(cluster: MemoryCluster) -> None:
    owner = cluster.create(job())
    cluster.remove(KIND, *PLACE)
    cluster.create(child("ConfigMap", "m", owner))
    assert cluster.all("ConfigMap") == []


def test_watchers_hear_everything_in_order(cluster: MemoryCluster) -> None:
    heard: list[tuple[str, str]] = []
    cluster.watch(lambda event, kind, obj: heard.append((event, obj["metadata"]["name"])))
    bound(cluster)
    cluster.delete_pod(NAMESPACE, "p", grace_s=0)
    assert heard == [("ADDED", "p"), ("MODIFIED", "p"), ("DELETED", "p")]


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        (["c"], {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ],
)
def test_merge_patches_as_rfc_7386_has_them(target: Any, patch: Any, expected: Any) -> None:
    assert merged(target, patch) == expected
