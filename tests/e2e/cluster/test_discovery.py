"""Prometheus is told of the ports that export metrics, and of no others."""

from __future__ import annotations

from typing import Any

from e2e.cluster.discovery import targets


def pod(name: str, *ports: str, phase: str = "Running", ip: str | None = "10.244.1.2") -> dict[str, Any]:
    listed = [{"name": port, "containerPort": 9000 + index} for index, port in enumerate(ports)]
    return {
        "metadata": {"namespace": "training", "name": name},
        "spec": {"nodeName": "node-1", "containers": [{"name": "trainer", "ports": [*listed, {"containerPort": 1}]}]},
        "status": {"phase": phase, **({"podIP": ip} if ip else {})},
    }


def test_metrics_ports_of_running_pods() -> None:
    pods = [
        pod("agent", "agent"),
        pod("operator", "health", "metrics"),
        pod("other", "http"),
        pod("waiting", "agent", phase="Pending", ip=None),
        pod("done", "agent", phase="Succeeded"),
    ]
    labels = {"namespace": "training", "container": "trainer", "node": "node-1"}
    assert targets(pods) == [
        {"targets": ["10.244.1.2:9000"], "labels": {**labels, "pod": "agent", "endpoint": "agent"}},
        {"targets": ["10.244.1.2:9001"], "labels": {**labels, "pod": "operator", "endpoint": "metrics"}},
    ]


def test_a_pod_without_ports() -> None:
    bare = pod("bare")
    del bare["spec"]["containers"][0]["ports"]
    assert targets([bare]) == []
