"""What a test sees of a cluster, however it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Keys:
    """One S3 account."""

    access: str
    secret: str


@dataclass(frozen=True, kw_only=True)
class Images:
    """Full names of the project's images, as pods name them."""

    operator: str
    runtime: str

    def names(self) -> list[str]:
        return [self.operator, self.runtime]


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running S3 server. Buckets are reached by path: <endpoint>/<bucket>/<key>."""

    endpoint: str
    """As pods reach it."""
    host_endpoint: str
    """As this machine reaches it."""
    region: str
    admin: Keys
    """May do anything."""
    denied: Keys
    """A real account that owns nothing and may touch no bucket: every request with it answers 403."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> S3Server:
        """From what `dataclasses.asdict` made of one."""
        return cls(**{**facts, "admin": Keys(**facts["admin"]), "denied": Keys(**facts["denied"])})


class Cluster(Protocol):
    """A running cluster of several nodes, and what may befall them."""

    name: str
    kubeconfig: Path
    kubectl: Path
    helm: Path
    node_names: list[str]
    s3: S3Server
    prometheus_url: str
    host_ip: str
    """An address of this machine at which pods reach servers that run on it."""

    audit_log: Path | None
    """What the operator's service account wrote, as the API server saw it: one audit.k8s.io Event as JSON a line."""

    def power_cut(self, node: str) -> None:
        """Everything on the node stops at once, and its network falls silent without a goodbye."""

    def power_on(self, node: str) -> None:
        """The node boots again with its old disk; it registers by itself within seconds."""

    def freeze(self, node: str) -> None:
        """The node stays on but does nothing: kubelet and all pods stand still, connections stay open."""

    def thaw(self, node: str) -> None:
        """What was frozen goes on where it stood."""

    def unplug(self, node: str) -> None:
        """The node's network cable is pulled; what runs on it goes on running."""

    def plug(self, node: str) -> None:
        """The cable is back."""

    def stop_s3(self) -> None:
        """The S3 server dies; what it stored stays."""

    def start_s3(self) -> None:
        """The S3 server runs again at the same address with the same accounts and objects."""

    def heal(self) -> None:
        """Undoes every fault that is still in force, and returns when all nodes are Ready and S3 answers."""

    def load(self, images: Sequence[str]) -> None:
        """Makes images known to every node; seconds when only their last layers are new."""

    def diagnose(self, directory: Path) -> None:
        """Copies the components' logs to `directory`."""
