"""The cluster is what the scenarios take it for: real nodes, one network, names, storage, and faults that heal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from .cluster.api import Cluster, Images, Keys
from .support.api import NODES, PODS, SERVICES, Api, ApiError, Object
from .support.waiting import eventually

RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Answers every connection, and reports what it can reach itself: each peer by its name, and S3.
PROBE = """
import json, os, socket, sys, threading, time, urllib.error, urllib.request
server = socket.create_server(("", 8000))
def serve():
    while True:
        server.accept()[0].close()
threading.Thread(target=serve, daemon=True).start()
def reach(peer):
    while True:
        try:
            return socket.create_connection((peer, 8000), timeout=2).close()
        except OSError as error:
            print(peer, error, flush=True); time.sleep(0.5)
for peer in json.loads(os.environ["PEERS"]):
    reach(peer)
try:
    urllib.request.urlopen(os.environ["S3"], timeout=10)
except urllib.error.HTTPError as refusal:
    print("S3 says", refusal.code)
print("reached everything", flush=True)
threading.Event().wait()
"""
TICKER = """
import time
while True:
    print(time.time(), flush=True); time.sleep(0.2)
"""
EATER = "held = [bytearray(b'x') * (1 << 20) for _ in range(1 << 20)]"


def pod(name: str, image: str, program: str, *, node: str = "", **spec: Any) -> Object:
    """A pod of the restricted profile that runs a Python program and ends at once when asked to."""
    container = {
        "name": "main",
        "image": image,
        "command": ["python", "-c", program],
        "securityContext": RESTRICTED,
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "probe"}},
        "spec": {
            "containers": [container],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "nodeName": node,
            **spec,
        },
    }


@pytest.fixture
def probes(cluster: Cluster, api: Api, namespace: str, images: Images) -> Iterator[list[str]]:
    """One pod on each node, reachable by name, each trying to reach all of them."""
    names = [f"probe-{index}" for index, _ in enumerate(cluster.node_names)]
    service = {"clusterIP": "None", "selector": {"app": "probe"}, "publishNotReadyAddresses": True}
    api.create(
        SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "probes"}, "spec": service}
    )
    peers = json.dumps([f"{name}.probes.{namespace}.svc" for name in names])
    env = [{"name": "PEERS", "value": peers}, {"name": "S3", "value": cluster.s3.endpoint}]
    for name, node in zip(names, cluster.node_names, strict=True):
        spec = {"hostname": name, "subdomain": "probes", "container": {"env": env}}
        api.create(PODS, namespace, pod(name, images.operator, PROBE, node=node, **spec))
    yield names
    for name in names:
        api.delete(PODS, namespace, name, grace_s=0)
    api.delete(SERVICES, namespace, "probes")


@pytest.fixture
def ticker(api: Api, namespace: str, images: Images, cluster: Cluster) -> Iterator[str]:
    """A pod on the last node that prints the time all the time."""
    api.create(PODS, namespace, pod("ticker", images.operator, TICKER, node=cluster.node_names[-1]))
    eventually(lambda: ticks(api, namespace), "the ticker ticks", timeout_s=60)
    yield "ticker"
    api.delete(PODS, namespace, "ticker", grace_s=0)


def test_nodes_are_ready(cluster: Cluster, api: Api) -> None:
    assert len(cluster.node_names) == 3
    for name in cluster.node_names:
        assert ready(api, name) == "True", name


def test_pods_reach_each_other_by_name_and_storage(probes: list[str], api: Api, namespace: str) -> None:
    def reached() -> bool:
        return all("reached everything" in log(api, namespace, name) for name in probes)

    eventually(reached, "every pod reaches every other and S3", timeout_s=90)
    for name in probes:
        assert "S3 says 403" in log(api, namespace, name)
        assert api.get(PODS, namespace, name)["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_memory_limit_kills(api: Api, namespace: str, images: Images) -> None:
    limit = {"resources": {"limits": {"memory": "64Mi"}}}
    api.create(PODS, namespace, pod("eater", images.operator, EATER, container=limit))

    def end() -> Object:
        (status,) = api.get(PODS, namespace, "eater")["status"].get("containerStatuses") or [{}]
        found: Object = status.get("state", {}).get("terminated", {})
        return found

    terminated = eventually(end, "the end of a pod that takes too much memory", timeout_s=60)
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)
    api.delete(PODS, namespace, "eater")


def test_a_namespace_refuses_pods_that_are_not_restricted(api: Api, namespace: str, images: Images) -> None:
    wanted = pod("privileged", images.operator, TICKER, container={"securityContext": {"privileged": True}})
    with pytest.raises(ApiError, match='violates PodSecurity "restricted:latest"'):
        api.create(PODS, namespace, wanted)


def test_a_power_cut_kills_pods_and_heals(healed: Cluster, api: Api, namespace: str, ticker: str) -> None:
    node = healed.node_names[-1]
    healed.power_cut(node)
    assert_misses(api, node)
    healed.power_on(node)
    assert_comes_back(api, node)

    def ended() -> bool:
        return api.get(PODS, namespace, ticker)["status"]["phase"] in ("Failed", "Unknown")

    eventually(ended, "the pod did not survive", timeout_s=60)


def test_a_freeze_stops_pods_and_thaws(healed: Cluster, api: Api, namespace: str, ticker: str) -> None:
    node = healed.node_names[-1]
    healed.freeze(node)
    assert_misses(api, node)
    healed.thaw(node)
    assert_comes_back(api, node)
    times = eventually(lambda: gap_of(ticks(api, namespace)), "the pod ticks on", timeout_s=60)
    assert times > 20, f"the longest pause of a frozen pod was {times:.1f} s"


def test_a_pulled_cable_is_missed_and_found(healed: Cluster, api: Api, namespace: str, ticker: str) -> None:
    node = healed.node_names[-1]
    healed.unplug(node)
    assert_misses(api, node)
    healed.plug(node)
    assert_comes_back(api, node)
    assert gap_of(ticks(api, namespace)) < 20, "the pod ran on while nobody could see it"


def test_storage_tells_accounts_apart(cluster: Cluster) -> None:
    admin = client(cluster, cluster.s3.admin)
    admin.create_bucket(Bucket="smoke")
    admin.put_object(Bucket="smoke", Key="a/b", Body=b"once", IfNoneMatch="*")
    stranger = client(cluster, Keys(access=cluster.s3.admin.access, secret="wrong"))
    denied = client(cluster, cluster.s3.denied)
    refusals: dict[str, Callable[[], object]] = {
        "PreconditionFailed": lambda: admin.put_object(Bucket="smoke", Key="a/b", Body=b"twice", IfNoneMatch="*"),
        "NoSuchBucket": lambda: admin.put_object(Bucket="missing", Key="a", Body=b""),
        "AccessDenied": lambda: denied.get_object(Bucket="smoke", Key="a/b"),
        "SignatureDoesNotMatch": lambda: stranger.list_buckets(),
    }
    for code, request in refusals.items():
        with pytest.raises(ClientError) as refused:
            request()
        assert refused.value.response["Error"]["Code"] == code
    cluster.stop_s3()
    cluster.start_s3()
    assert admin.get_object(Bucket="smoke", Key="a/b")["Body"].read() == b"once"
    admin.delete_object(Bucket="smoke", Key="a/b")
    admin.delete_bucket(Bucket="smoke")


def client(cluster: Cluster, keys: Keys) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=cluster.s3.host_endpoint,
        region_name=cluster.s3.region,
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
    )


def assert_misses(api: Api, node: str) -> None:
    """Kubernetes' own grace period of 50 s passes before a silent node is Unknown, and not much more."""
    eventually(lambda: ready(api, node) == "Unknown", f"{node} is missed", timeout_s=120)


def assert_comes_back(api: Api, node: str) -> None:
    eventually(lambda: ready(api, node) == "True", f"{node} is back", timeout_s=120)


def ready(api: Api, node: str) -> str:
    conditions = api.get(NODES, None, node)["status"]["conditions"]
    return next(str(condition["status"]) for condition in conditions if condition["type"] == "Ready")


def log(api: Api, namespace: str, name: str) -> str:
    if api.get(PODS, namespace, name)["status"]["phase"] == "Pending":
        return ""
    return api.text(f"{PODS.path(namespace, name)}/log")


def ticks(api: Api, namespace: str) -> list[float]:
    return [float(line) for line in log(api, namespace, "ticker").split()]


def gap_of(times: list[float]) -> float:
    """The longest pause between two ticks, in seconds."""
    return max((after - before for before, after in pairwise(times)), default=0.0)
