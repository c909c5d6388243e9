"""Where things are, and the few numbers that describe one cluster."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STATE_ROOT = Path("/var/lib/thunderhead")
"""Running clusters by name."""
KUBE_MODULE = Path(__file__).resolve().parent / "kube"

DEFAULT_NAME = "local"
NAME_RULE = re.compile(r"[a-z0-9]{1,9}")
"""A cluster's name becomes part of interface names, which the kernel limits to 15 characters."""


class ClusterError(Exception):
    """Something that the cluster needs is missing or failed; the message says what and what to do.

    Attributes:
        part: of the bring-up in which it happened, where it is known.
    """

    part: str | None = None


def cache_root() -> Path:
    """Where builds are kept by the hash of their inputs, shared by every checkout on this machine."""
    chosen = os.environ.get("THUNDERHEAD_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "thunderhead"


def kubernetes_version(module: Path = KUBE_MODULE) -> str:
    """The version that the Go module pins, such as v1.36.4."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    assert found is not None, "e2e/cluster/kube/go.mod requires k8s.io/kubernetes"
    return found.group(1)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One local cluster. Its addresses lie in 10.<octet>.0.0/16: nodes in .255, the pods of node i in .i."""

    name: str
    octet: int
    nodes: int = 3

    def __post_init__(self) -> None:
        check_name(self.name)
        if not 1 <= self.nodes <= 200:
            raise ValueError(f"nodes={self.nodes} is outside 1..200")

    @property
    def state(self) -> Path:
        """Everything of this cluster on disk: keys, logs, the nodes' disks, buckets."""
        return state_dir(self.name)

    @property
    def pod_range(self) -> str:
        return f"10.{self.octet}.0.0/16"

    @property
    def host_ip(self) -> str:
        """The host's address on the cluster's bridge, where API server, DNS and S3 listen."""
        return f"10.{self.octet}.255.1"

    @property
    def private_ip(self) -> str:
        """A loopback address of this cluster's own, for what no pod may reach."""
        return f"127.0.0.{self.octet}"

    @property
    def bridge(self) -> str:
        return bridge_name(self.name)

    @property
    def node_names(self) -> list[str]:
        return [f"node-{index}" for index in range(1, self.nodes + 1)]

    @property
    def kubeconfig(self) -> Path:
        return self.state / "pki" / "super-admin.conf"

    def index(self, node: str) -> int:
        if node not in self.node_names:
            raise ValueError(f"node {node!r} does not exist; nodes are {', '.join(self.node_names)}")
        return int(node.removeprefix("node-"))

    def node_ip(self, node: str) -> str:
        return f"10.{self.octet}.255.{10 + self.index(node)}"

    def node_pods(self, node: str) -> str:
        return f"10.{self.octet}.{self.index(node)}.0/24"

    def node_dir(self, node: str) -> Path:
        return self.state / node

    def node_link(self, node: str) -> str:
        return f"{self.bridge}-{self.index(node)}"


SERVICE_RANGE = "10.96.0.0/16"
DNS_IP = "10.96.0.10"
OPERATOR_NAMESPACE = "thunderhead-system"
"""Where the tests install the operator."""


def check_name(name: str) -> str:
    if not NAME_RULE.fullmatch(name):
        raise ValueError(f"cluster name {name!r} must match {NAME_RULE.pattern}")
    return name


def state_dir(name: str) -> Path:
    return STATE_ROOT / check_name(name)


def bridge_name(name: str) -> str:
    return f"th{check_name(name)}"


def chosen_name() -> str:
    """The cluster that this shell works with: THUNDERHEAD_CLUSTER, or the default."""
    return check_name(os.environ.get("THUNDERHEAD_CLUSTER", DEFAULT_NAME))
