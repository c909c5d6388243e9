"""Thunderhead installed on the cluster, by Helm and as its guide says."""

from __future__ import annotations

import json

from . import client
from .api import Cluster, Images
from .config import OPERATOR_NAMESPACE, REPOSITORY

CHART = REPOSITORY / "charts" / "thunderhead"
_READY = "180s"
_TEMPORARY = "thunderhead.dev/e2e"
"""Label of the namespaces that tests work in."""


class Release:
    """The release `thunderhead`, of this checkout's chart and images."""

    release = "thunderhead"
    namespace = OPERATOR_NAMESPACE

    def __init__(self, cluster: Cluster, images: Images) -> None:
        self._cluster = cluster
        self._values = {**_image("image", images.operator), **_image("runtimeImage", images.runtime)}

    def install(self) -> None:
        """Installs the release, or upgrades the one that is there, and waits until the operator is ready."""
        restricted_namespace(self._cluster, self.namespace)
        values = [word for key, value in self._values.items() for word in ("--set-string", f"{key}={value}")]
        self._helm("upgrade", "--install", self.release, str(CHART), "--wait", "--timeout", _READY, *values)

    def uninstall(self) -> None:
        """Does what `helm uninstall` does; nothing where there is no release."""
        self._helm("uninstall", self.release, "--wait", "--timeout", _READY, "--ignore-not-found")

    def manifest(self) -> str:
        """What the release put into the cluster, as YAML documents."""
        return self._helm("get", "manifest", self.release)

    def _helm(self, *words: str) -> str:
        cluster = self._cluster
        return client.helm(cluster.helm, cluster.kubeconfig, *words, "--namespace", self.namespace)


def restricted_namespace(cluster: Cluster, name: str, *, temporary: bool = False) -> None:
    """Makes sure of a namespace in which only pods of the restricted profile are admitted."""
    enforce = "pod-security.kubernetes.io/enforce"
    labels = {enforce: "restricted", f"{enforce}-version": "latest", **({_TEMPORARY: "true"} if temporary else {})}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    _kubectl(cluster, "apply", "--server-side", "-f", "-", stdin=json.dumps(namespace))
    # Until a controller has made it, no pod is admitted.
    _kubectl(cluster, "wait", "--for=create", "serviceaccount/default", "--namespace", name, "--timeout=60s")


def delete_temporary_namespaces(cluster: Cluster) -> None:
    """Begins the end of every temporary namespace and of everything in it, and does not wait for it."""
    _kubectl(cluster, "delete", "namespace", "--selector", _TEMPORARY, "--wait=false")


def _image(value: str, name: str) -> dict[str, str]:
    repository, _, tag = name.rpartition(":")
    return {f"{value}.repository": repository, f"{value}.tag": tag}


def _kubectl(cluster: Cluster, *words: str, stdin: str = "") -> str:
    return client.kubectl(cluster.kubectl, cluster.kubeconfig, *words, stdin=stdin)
