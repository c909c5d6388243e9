"""etcd, API server, controller manager, scheduler and DNS, as processes of the host."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from . import client, daemon
from .cgroups import Cgroup
from .config import DNS_IP, OPERATOR_NAMESPACE, SERVICE_RANGE, Config
from .shell import Argument, succeeds, wait_until

DAEMONS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns")
_CPU_SHARES = "8192"
"""Eight times a default group's: on a machine of two cores, training must not slow the control plane's leases."""


def start_control_plane(config: Config, programs: Path, group: Cgroup) -> None:
    """Starts every daemon and returns when the API server is ready and the cluster's DNS is in place."""
    group.create()
    group.set("cpu", "cpu.shares", _CPU_SHARES)
    for name in ("etcd", "kube-apiserver"):
        start_daemon(config, programs, group, name)
    kubectl = partial(client.kubectl, programs / "kubectl", config.kubeconfig)
    wait_until(lambda: succeeds(kubectl, "get", "--raw", "/readyz"), "API server ready", timeout_s=120)
    # The server's own certificate may read no pod's log and open no exec session by itself.
    may, user = "--clusterrole=system:kubelet-api-admin", "--user=kube-apiserver-kubelet-client"
    kubectl("create", "clusterrolebinding", "kube-apiserver-kubelet-client", may, user)
    for name in ("kube-controller-manager", "kube-scheduler", "coredns"):
        start_daemon(config, programs, group, name)
    kubectl("apply", "-f", "-", stdin=json.dumps(_dns_service(config)))


def start_daemon(config: Config, programs: Path, group: Cgroup, name: str) -> None:
    """Starts one of `DAEMONS` in a group of its own below `group`."""
    commands = {
        "etcd": _etcd,
        "kube-apiserver": _apiserver,
        "kube-controller-manager": _controller_manager,
        "kube-scheduler": _scheduler,
        "coredns": _coredns,
    }
    arguments = commands[name](config)
    daemon.start(group / name, [programs / name, *arguments], log=config.state / "log" / f"{name}.log")


def _etcd(config: Config) -> list[Argument]:
    clients, peers = f"http://{config.private_ip}:2379", f"http://{config.private_ip}:2380"
    return [
        f"--data-dir={config.state / 'etcd'}",
        "--unsafe-no-fsync",  # the cluster does not outlive the machine's next boot
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]


def _apiserver(config: Config) -> list[Argument]:
    keys = config.state / "pki"
    return [
        f"--etcd-servers=http://{config.private_ip}:2379",
        f"--bind-address={config.host_ip}",
        f"--advertise-address={config.host_ip}",
        "--secure-port=6443",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--kubelet-client-certificate={keys / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'apiserver-kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--audit-policy-file={_audit_policy(config)}",
        f"--audit-log-path={audit_log(config)}",
        "--profiling=false",
    ]


def audit_log(config: Config) -> Path:
    """Where the API server writes what the operator changes."""
    return config.state / "log" / "audit.log"


def _audit_policy(config: Config) -> Path:
    operator = {
        "level": "Metadata",
        "userGroups": [f"system:serviceaccounts:{OPERATOR_NAMESPACE}"],
        "verbs": ["create", "update", "patch", "delete", "deletecollection"],
    }
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [operator, {"level": "None"}],
    }
    file = config.state / "audit-policy.json"
    file.write_text(json.dumps(policy))
    return file


def _controller_manager(config: Config) -> list[Argument]:
    keys = config.state / "pki"
    return [
        *_identity(config, "controller-manager"),
        f"--service-account-private-key-file={keys / 'sa.key'}",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--cluster-signing-cert-file={keys / 'ca.crt'}",
        f"--cluster-signing-key-file={keys / 'ca.key'}",
        "--use-service-account-credentials=true",
        f"--flex-volume-plugin-dir={config.state / 'volume-plugins'}",
    ]


def _scheduler(config: Config) -> list[Argument]:
    return _identity(config, "scheduler")


def _identity(config: Config, name: str) -> list[Argument]:
    kubeconfig = config.state / "pki" / f"{name}.conf"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={config.private_ip}",
        "--leader-elect=false",
        "--profiling=false",
    ]


def _coredns(config: Config) -> list[Argument]:
    """kubeadm's Corefile, except that names outside of the cluster do not exist: tests depend on no other resolver."""
    corefile = config.state / "Corefile"
    corefile.write_text(
        f"""cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {config.host_ip}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {config.kubeconfig}
        pods insecure
        ttl 30
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loadbalance
}}
.:53 {{
    bind {config.host_ip}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
    )
    return ["-conf", corefile]


def _dns_service(config: Config) -> dict[str, object]:
    """The service that every pod asks, and its only endpoint: the DNS server on the host."""
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    name = {"name": "kube-dns", "namespace": "kube-system"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**name, "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "clusterIP": DNS_IP,
            "ports": [{"name": port, "port": 53, "protocol": protocol} for port, protocol in ports],
        },
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**name, "name": "kube-dns-host", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [config.host_ip], "conditions": {"ready": True}}],
        "ports": [{"name": port, "port": 53, "protocol": protocol} for port, protocol in ports],
    }
    return {"apiVersion": "v1", "kind": "List", "items": [service, endpoints]}
