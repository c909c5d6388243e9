"""The cluster made of this machine's own processes: bringing it up, using it, taking it away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from . import client, controlplane, network, packages, pki, prometheus, s3, store
from . import config as config_module
from . import node as node_module
from .api import Images, S3Server
from .build import build as build_program
from .build import digest
from .cgroups import Cgroup
from .config import STATE_ROOT, ClusterError, Config, bridge_name, state_dir
from .images import build, storage
from .layers import stored_image
from .locks import locked
from .node import MOUNT_POINTS, Node, any_cluster, cluster_group
from .phases import Say, phase, say
from .shell import remove_empty, wait_until
from .together import side_by_side

_RECORD = "cluster.json"
_CPU_SHARES = "8192"
_SHARED = "shared"
"""Lock over what clusters share: the choice of a network, and directories of the host that each node covers."""


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Directories of built programs."""

    kubernetes: Path
    helm: Path
    versitygw: Path


class LocalCluster:
    """A running cluster; see `api.Cluster`."""

    def __init__(self, config: Config, programs: Programs, server: S3Server) -> None:
        self.config = config
        self.programs = programs
        self.s3 = server
        self.name = config.name
        self.kubeconfig = config.kubeconfig
        self.kubectl = programs.kubernetes / "kubectl"
        self.helm = programs.helm / "helm"
        self.node_names = config.node_names
        self.prometheus_url = prometheus.url(config)
        self.host_ip = config.host_ip
        self.audit_log: Path | None = controlplane.audit_log(config)
        self.group = cluster_group(config.name)

    def node(self, name: str) -> Node:
        self.config.index(name)
        return Node(self.config, name, self.programs.kubernetes)

    def power_cut(self, node: str) -> None:
        self.node(node).cut_power()

    def power_on(self, node: str) -> None:
        self.node(node).boot()

    def freeze(self, node: str) -> None:
        self.node(node).group.freeze()

    def thaw(self, node: str) -> None:
        self.node(node).group.thaw()

    def unplug(self, node: str) -> None:
        network.set_cable(self.config, node, plugged=False)

    def plug(self, node: str) -> None:
        network.set_cable(self.config, node, plugged=True)

    def stop_s3(self) -> None:
        (self.group / "host/s3").kill()

    def start_s3(self) -> None:
        s3.start(self.s3, self.config, self.programs.versitygw / "versitygw", self.group / "host/s3")

    def heal(self) -> None:
        for name in self.node_names:
            node = self.node(name)
            if node.group.exists() and node.group.is_frozen():
                node.group.thaw()
            if node.is_on():
                self.plug(name)
            else:
                node.boot()
        if not s3.answers(self.s3):
            self.stop_s3()
            self.start_s3()
        wait_until(self.nodes_ready, "nodes Ready", timeout_s=180, every_s=0.5)

    def load(self, images: Sequence[str]) -> None:
        stored = [stored_image(storage().storage, name) for name in images]
        with ThreadPoolExecutor(len(self.node_names)) as pool:
            for loaded in [pool.submit(store.load, self.node(name), stored) for name in self.node_names]:
                loaded.result()

    def diagnose(self, directory: Path) -> None:
        state = self.config.state  # not searched as a whole: the nodes' disks below it change all the time
        for log in sorted([*state.glob("log/*.log"), *state.glob("*/log/*.log")]):
            target = directory / log.relative_to(self.config.state)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, target)

    def is_whole(self) -> bool:
        """Whether every process that `up` started is still there."""
        daemons = [self.group / "control-plane" / name for name in controlplane.DAEMONS]
        daemons += [self.group / "host" / name for name in ("s3", "prometheus/server", "prometheus/discovery")]
        return all(group.pids() for group in daemons) and all(self.node(name).is_on() for name in self.node_names)

    def nodes_ready(self) -> bool:
        each = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}'
        said = client.kubectl(self.kubectl, self.kubeconfig, "get", "nodes", "-o", f"jsonpath={each}")
        return said.split() == ["True"] * len(self.node_names)


def build_all(tell: Say = say) -> tuple[Programs, Images, Path]:
    """Programs, images, and the image store that nodes begin with; built unless the cache has them."""
    if os.geteuid() != 0:
        raise ClusterError("only root can make network and process namespaces: run as root, or start a docker engine")
    # Compilers use the processors while images wait for the network and the disk.
    programs, (images, prepared) = side_by_side(lambda: _build_programs(tell), lambda: _build_images(tell))
    return programs, images, prepared


def _build_programs(tell: Say) -> Programs:
    """One after the other: each build uses every processor by itself."""
    return Programs(
        kubernetes=build_program("kubernetes", tell),
        helm=build_program("helm", tell),
        versitygw=build_program("versitygw", tell),
    )


def _build_images(tell: Say) -> tuple[Images, Path]:
    packages.install((*packages.NODE_PACKAGES, *packages.IMAGE_PACKAGES, *packages.OBSERVER_PACKAGES), tell)
    images = build(tell)
    stored = [stored_image(storage().storage, image) for image in images.names()]
    return images, store.prepared_store(stored, STATE_ROOT, tell)


def up(name: str, tell: Say = say) -> tuple[LocalCluster, Images]:
    """Returns the running cluster `name`, whole, with the images of this checkout on its nodes.

    What is missing is built; a cluster of which parts are missing is made anew.
    """
    programs, images, prepared = build_all(tell)
    with locked(f"cluster-{name}", tell):
        cluster = find(name, programs)
        if cluster is None or not cluster.is_whole():
            _remove(name, tell)
            cluster = _create(name, programs, prepared, tell)
        cluster.heal()
        with phase("images on the nodes", tell):
            cluster.load(images.names())
    return cluster, images


def down(name: str, tell: Say = say) -> None:
    """Ends everything of the cluster `name` and removes every trace of it; does nothing where there is none."""
    with locked(f"cluster-{name}", tell):
        _remove(name, tell)


def find(name: str, programs: Programs | None = None) -> LocalCluster | None:
    """The cluster `name` if its bring-up was completed since the machine's last boot; given programs, only if it was
    made of these and as this checkout would make it."""
    record = state_dir(name) / _RECORD
    if not record.exists() or not cluster_group(name).exists():
        return None
    facts = json.loads(record.read_text())
    config = Config(name=name, octet=facts["octet"], nodes=facts["nodes"])
    known = Programs(**{key: Path(value) for key, value in facts["programs"].items()})
    if programs is not None and (programs, _definition()) != (known, facts.get("definition")):
        return None
    return LocalCluster(config, known, S3Server.of(facts["s3"]))


def _create(name: str, programs: Programs, prepared: Path, tell: Say) -> LocalCluster:
    with locked(_SHARED, tell):
        config = Config(name=name, octet=network.free_octet())
        cluster_group(name).create()
        # A group counts as much as one single process outside of all groups, unless it says otherwise.
        cluster_group(name).set("cpu", "cpu.shares", _CPU_SHARES)
        for directory in MOUNT_POINTS:
            directory.mkdir(parents=True, exist_ok=True)
        config.state.mkdir(parents=True, mode=0o700)
        network.create_bridge(config)
    cluster = LocalCluster(config, programs, s3.describe(config.host_ip))
    with phase("keys", tell):
        pki.create(config, programs.kubernetes)
    with phase("control plane", tell):
        controlplane.start_control_plane(config, programs.kubernetes, cluster.group / "control-plane")
    with phase("nodes", tell):
        _start_nodes(cluster, prepared)
    with phase("S3 and Prometheus", tell):
        cluster.start_s3()
        prometheus.start(config, cluster.kubectl, cluster.group / "host/prometheus")
    with phase("nodes Ready", tell):
        wait_until(cluster.nodes_ready, "nodes Ready", timeout_s=180, every_s=0.5)
    _record(cluster)
    return cluster


def _start_nodes(cluster: LocalCluster, prepared: Path) -> None:
    for name in cluster.node_names:
        node = cluster.node(name)
        node.prepare()
        store.clone(prepared, node.home)
        node.boot()


def _definition() -> str:
    """A hash of everything that decides how the cluster's processes are started."""
    modules = (config_module, controlplane, network, node_module, pki, prometheus, s3)
    return digest(Path(str(module.__file__)).read_bytes() for module in modules)


def _record(cluster: LocalCluster) -> None:
    """Written last and whole: a cluster without this file was never finished."""
    facts = {
        "octet": cluster.config.octet,
        "nodes": cluster.config.nodes,
        "s3": asdict(cluster.s3),
        "definition": _definition(),
        "programs": {key: str(value) for key, value in asdict(cluster.programs).items()},
    }
    unfinished = cluster.config.state / f"{_RECORD}.unfinished"
    unfinished.write_text(json.dumps(facts))
    unfinished.rename(cluster.config.state / _RECORD)


def traces(name: str) -> list[str]:
    """Everything on this machine that is the cluster's `name`, be it whole or the rest of one."""
    links = Path("/sys/class/net").glob(f"{bridge_name(name)}*")
    directories = [state_dir(name), *cluster_group(name).directories(), *links]
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    left = [str(path) for path in directories if path.exists()]
    return left + [place for place in mounts if place.startswith(f"{state_dir(name)}/")]


def _remove(name: str, tell: Say) -> None:
    """Works from the name alone, so it also clears what a bring-up left that was killed half way."""
    state, group = state_dir(name), cluster_group(name)
    if not traces(name):
        return
    with phase(f"removing cluster {name}", tell):
        _end_processes(group)
        network.remove_all(name)
        if state.exists():
            shutil.rmtree(state)
        with locked(_SHARED, tell):
            if not any_cluster():
                for directory in (*MOUNT_POINTS, state.parent):
                    remove_empty(directory)


def _end_processes(group: Cgroup) -> None:
    if not group.exists():
        return
    group.freeze()
    group.kill()
    group.remove()
