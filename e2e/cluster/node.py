"""One node: a tree of processes with network, process, mount and host-name namespaces and a cgroup of its own.

Its containerd, kubelet and kube-proxy run as they would on a machine. The namespaces have no names anywhere: they live
as long as the node's processes do, so killing those is a power cut that also leaves nothing to clean up but the disk.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from . import daemon, network
from .cgroups import MOUNTS, Cgroup
from .config import DNS_IP, Config
from .shell import run, wait_until

PAUSE_IMAGE = "localhost/pause:1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
"""Inside the node: its /run is its own, and as empty after each start as a machine's."""

MOUNT_POINTS = (Path("/var/lib/cni"), Path("/var/lib/kubelet"))
"""Directories at which each node sees one of its own; the host's stay empty."""

_UNSHARE = (
    "unshare",
    "--fork",
    "--kill-child",
    "--pid",
    "--mount-proc",
    "--net",
    "--uts",
    "--ipc",
    "--propagation",
    "slave",
)
_CPU_SHARES = "8192"


class Node:
    """Starts, stops and enters one node of a cluster."""

    def __init__(self, config: Config, name: str, programs: Path) -> None:
        self.config = config
        self.name = name
        self.home = config.node_dir(name)
        self.programs = programs
        self.group = Cgroup(cluster_group(config.name).path) / name

    def prepare(self) -> None:
        """Writes what stays on the node's disk: its settings. The image store and identity are put there by others."""
        for directory in (self.home / "kubelet", self.home / "cni"):
            directory.mkdir(parents=True, exist_ok=True)
        (self.home / "cni" / "10-ptp.conflist").write_text(json.dumps(self._cni()))
        (self.home / "containerd.toml").write_text(containerd_settings(self.home, cni=self.home / "cni"))
        (self.home / "kubelet.json").write_text(json.dumps(self._kubelet()))
        (self.home / "kube-proxy.json").write_text(json.dumps(self._kube_proxy()))

    def boot(self) -> None:
        """Switches the node on. Returns when its container runtime answers; the kubelet registers soon after."""
        # A machine's boot finds no cgroups of the last one; the kubelet would take them for running pods.
        self.group.kill()
        network.disconnect_node(self.config, self.name)
        self.group.remove()
        self.group.create()
        system = self.group / "system"
        system.create()
        system.set("cpu", "cpu.shares", _CPU_SHARES)
        script = self.home / "init.sh"
        script.write_text(self._init_script())
        (self.home / "boot_id").write_text(f"{uuid.uuid4()}\n")
        daemon.start(system, [*_UNSHARE, "catatonit", "--", "sh", script], log=self.home / "log" / "init.log")
        wait_until(lambda: self.init_pid() is not None, f"{self.name}: first process", timeout_s=30)
        network.connect_node(self.config, self.name, self._require_init())
        socket = f"/proc/{self._require_init()}/root{CONTAINERD_SOCKET}"
        wait_until(Path(socket).exists, f"{self.name}: containerd's socket; see {self.home}/log", timeout_s=60)

    def cut_power(self) -> None:
        """Ends every process of the node at once; as from a dead machine, no goodbye reaches the network."""
        network.disconnect_node(self.config, self.name)
        self.group.freeze()
        self.group.kill()

    def init_pid(self) -> int | None:
        """The node's process 1, as the host numbers it."""
        for pid in (self.group / "system").pids():
            if _is_init(pid):
                return pid
        return None

    def is_on(self) -> bool:
        return self.init_pid() is not None

    def enter(self, *command: str | Path, stdin: bytes | None = None, timeout_s: float | None = None) -> str:
        """Runs a command on the node, in its namespaces but outside of its cgroup."""
        return run(*self.entering(), *command, stdin=stdin, timeout_s=timeout_s)

    def entering(self) -> tuple[str, ...]:
        """The words before a command that is to run on the node."""
        namespaces = ("--mount", "--net", "--pid", "--uts", "--ipc")
        return ("nsenter", "--target", str(self._require_init()), *namespaces, "--")

    def _require_init(self) -> int:
        pid = self.init_pid()
        if pid is None:
            raise RuntimeError(f"{self.name} is switched off; its last words are in {self.home}/log")
        return pid

    def _init_script(self) -> str:
        config, home = self.config, self.home
        log = home / "log"
        neighbours = [node for node in config.node_names if node != self.name]
        routes = "\n".join(f"ip route add {config.node_pods(n)} via {config.node_ip(n)}" for n in neighbours)
        return f"""set -eu
hostname {self.name}
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
mount -t tmpfs -o mode=755 tmpfs /var/lib/cni
mount --bind {home}/kubelet /var/lib/kubelet
mount --bind {home}/boot_id /proc/sys/kernel/random/boot_id
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip addr add {config.node_ip(self.name)}/24 dev eth0
ip link set eth0 up
ip route add default via {config.host_ip}
{routes}
echo 1 >/proc/sys/net/ipv4/ip_forward
containerd -c {home}/containerd.toml >>{log}/containerd.log 2>&1 &
until ctr version >/dev/null 2>&1; do sleep 0.1; done
keep() {{ name=$1; shift; while :; do "$@" >>{log}/$name.log 2>&1 || true; sleep 1; done; }}
keep kubelet {self.programs}/kubelet --config={home}/kubelet.json --kubeconfig={home}/kubelet.conf \\
  --hostname-override={self.name} --node-ip={config.node_ip(self.name)} &
keep kube-proxy {self.programs}/kube-proxy --config={home}/kube-proxy.json &
wait
"""

    def _cni(self) -> dict[str, object]:
        """Point to point links: unlike a bridge's, their traffic to a service always passes the node's own routing."""
        ipam = {
            "type": "host-local",
            "dataDir": "/run/cni/networks",
            "ranges": [[{"subnet": self.config.node_pods(self.name)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        plugins = [{"type": "ptp", "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}]
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}

    def _kubelet(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.config.state / "pki" / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            # Two kubelets below one root would each kill the other's pods as orphans.
            "cgroupRoot": f"/{self.group.path}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "clusterDNS": [DNS_IP],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            # The nodes share the host's disk and memory: how full those are says nothing about a node.
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": str(self.home / "pod-logs"),
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        }

    def _kube_proxy(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": self.config.pod_range,
            "hostnameOverride": self.name,
            "clientConnection": {"kubeconfig": str(self.config.kubeconfig)},
            "conntrack": {"maxPerCore": 0},
        }


def cluster_group(name: str) -> Cgroup:
    """The cgroup that holds everything of the cluster `name`."""
    return Cgroup(f"thunderhead-{name}")


def any_cluster() -> bool:
    """Whether any cluster of this kind is on this machine."""
    return any(path.name.startswith("thunderhead-") for path in (MOUNTS / "freezer").iterdir())


def containerd_settings(home: Path, *, cni: Path) -> str:
    """A containerd with its images and containers below `home`."""
    return f"""version = 2
root = "{home}/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  # Where root lacks CAP_SYS_RESOURCE no process may lower its OOM score, and every sandbox would fail.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def _is_init(pid: int) -> bool:
    """Whether a process is number 1 of the node's process namespace, and not of a pod's inside it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return len(numbers) == 2 and numbers[1] == "1"
