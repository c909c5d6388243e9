"""Certificates and kubeconfigs, made by kubeadm."""

from __future__ import annotations

from pathlib import Path

from .config import SERVICE_RANGE, Config, kubernetes_version
from .shell import run

_IDENTITIES = ("super-admin", "controller-manager", "scheduler")


def create(config: Config, programs: Path) -> None:
    """Makes the cluster's certificate authority, the API server's certificates and every kubeconfig."""
    keys = config.state / "pki"
    keys.mkdir(parents=True, mode=0o700)
    address = ("--apiserver-advertise-address", config.host_ip)
    version = ("--kubernetes-version", kubernetes_version())
    certs = (programs / "kubeadm", "init", "phase", "certs")
    for name in ("ca", "sa"):
        run(*certs, name, "--cert-dir", keys)
    run(*certs, "apiserver", "--cert-dir", keys, "--service-cidr", SERVICE_RANGE, *address, *version)
    run(*certs, "apiserver-kubelet-client", "--cert-dir", keys, *version)
    kubeconfig = (programs / "kubeadm", "init", "phase", "kubeconfig")
    for identity in _IDENTITIES:
        run(*kubeconfig, identity, "--cert-dir", keys, "--kubeconfig-dir", keys, *address, *version)
    for node in config.node_names:
        home = config.node_dir(node)
        home.mkdir(parents=True)
        run(
            *kubeconfig,
            "kubelet",
            "--node-name",
            node,
            "--cert-dir",
            keys,
            "--kubeconfig-dir",
            home,
            *address,
            *version,
        )
