"""The cluster made by kind, where there is a docker engine on Linux: the same interface over its node containers.

The S3 server and Prometheus are containers that share the control plane's network: pods and this machine reach them
at the control plane's address.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from . import client, prometheus, s3
from .api import Images, S3Server
from .build import build as build_program
from .config import ClusterError, cache_root, check_name
from .images import images_of, staged_context, wheels
from .locks import locked
from .phases import Say, phase, say
from .pypi import host_settings
from .shell import Argument, run, run_logged, succeeds, wait_until

SETTINGS = Path(__file__).with_name("kind.yaml")
_BASE = "python:3.11-slim"
_PROMETHEUS_IMAGE = "prom/prometheus:v3.5.0"
_S3_DOCKERFILE = 'FROM scratch\nCOPY versitygw /versitygw\nENTRYPOINT ["/versitygw"]\n'
_ADDRESS = "{{.NetworkSettings.Networks.kind.IPAddress}}"
_LABEL = "thunderhead.dev/cluster"
_GATEWAY = "{{.NetworkSettings.Networks.kind.Gateway}}"


def docker_answers() -> bool:
    return shutil.which("docker") is not None and succeeds(run, "docker", "version", "--format", "{{.Server.Version}}")


class KindCluster:
    """A running cluster; see `api.Cluster`. Nodes are called as kind calls its workers."""

    def __init__(self, name: str, server: S3Server, helm: Path) -> None:
        self.name = name
        self.s3 = server
        self.helm = helm
        self.kubeconfig = state_dir(name) / "kubeconfig"
        self.kubectl = _program("kubectl")
        self.node_names = [f"{kind_name(name)}-worker{number}" for number in ("", "2", "3")]
        self.prometheus_url = f"http://{_inspect(_control_plane(name), _ADDRESS)}:{prometheus.PORT}"
        self.audit_log: Path | None = None
        self.host_ip = _inspect(_control_plane(name), _GATEWAY)

    def power_cut(self, node: str) -> None:
        self.unplug(node)
        run("docker", "kill", node)

    def power_on(self, node: str) -> None:
        run("docker", "start", self._known(node))

    def freeze(self, node: str) -> None:
        run("docker", "pause", self._known(node))

    def thaw(self, node: str) -> None:
        run("docker", "unpause", self._known(node))

    def unplug(self, node: str) -> None:
        run("docker", "exec", self._known(node), "ip", "link", "set", "eth0", "down")

    def plug(self, node: str) -> None:
        run("docker", "exec", self._known(node), "ip", "link", "set", "eth0", "up")
        run("docker", "exec", node, "ip", "route", "replace", "default", "via", self.host_ip)

    def stop_s3(self) -> None:
        run("docker", "kill", _beside(self.name, "s3"))

    def start_s3(self) -> None:
        run("docker", "start", _beside(self.name, "s3"))
        wait_until(lambda: s3.answers(self.s3), "S3 server answers", timeout_s=60)

    def heal(self) -> None:
        for node in self.node_names:
            state = _inspect(node, "{{.State.Status}}")
            if state == "paused":
                self.thaw(node)
            elif state != "running":
                self.power_on(node)
            self.plug(node)
        if not s3.answers(self.s3):
            self.start_s3()
        nodes = [f"node/{node}" for node in self.node_names]
        ready = ("--for=condition=Ready", "--timeout=180s")
        client.kubectl(self.kubectl, self.kubeconfig, "wait", *ready, *nodes, timeout_s=200)

    def load(self, images: Sequence[str]) -> None:
        """kind copies whole images; nodes that have one of this name keep it."""
        ctr = ("ctr", "--namespace", "k8s.io", "images", "list", "--quiet")
        there = {node: run("docker", "exec", node, *ctr).split() for node in self.node_names}
        for image in images:
            lacking = [node for node in self.node_names if image not in there[node]]
            if lacking:
                _kind(self.name, "load", "docker-image", image, "--nodes", ",".join(lacking))

    def diagnose(self, directory: Path) -> None:
        _kind(self.name, "export", "logs", directory)

    def _known(self, node: str) -> str:
        if node not in self.node_names:
            raise ValueError(f"node {node!r} does not exist; nodes are {', '.join(self.node_names)}")
        return node


def build_all(tell: Say = say) -> tuple[Images, Path]:
    """The images and helm; built unless they are there."""
    return _build_images(tell), build_program("helm", tell) / "helm"


def up(name: str, tell: Say = say) -> tuple[KindCluster, Images]:
    """Returns the running cluster `name`, whole, with the images of this checkout on its nodes."""
    images, helm = build_all(tell)
    with locked(f"cluster-{name}", tell):
        cluster = find(name)
        if cluster is None:
            _remove(name, tell)
            cluster = _create(name, helm, tell)
        cluster.heal()
        with phase("images on the nodes", tell):
            cluster.load(images.names())
    return cluster, images


def down(name: str, tell: Say = say) -> None:
    """Deletes the containers of the cluster `name`; does nothing where there are none."""
    with locked(f"cluster-{name}", tell):
        _remove(name, tell)


def find(name: str) -> KindCluster | None:
    """The cluster `name` if its bring-up was completed."""
    record = state_dir(name) / "cluster.json"
    if not record.exists() or not succeeds(run, "docker", "inspect", _control_plane(name)):
        return None
    facts = json.loads(record.read_text())
    return KindCluster(name, S3Server.of(facts["s3"]), Path(facts["helm"]))


def traces(name: str) -> list[str]:
    """Everything on this machine that is the cluster's `name`, be it whole or the rest of one."""
    nodes = ("--filter", f"label=io.x-k8s.kind.cluster={kind_name(name)}")
    ours = ("--filter", f"label={_LABEL}={check_name(name)}")
    containers = [run("docker", "ps", "--all", *which, "--format", "{{.Names}}").split() for which in (nodes, ours)]
    return [*containers[0], *containers[1], *map(str, state_dir(name).parent.glob(name))]


def kind_name(name: str) -> str:
    """What kind calls the cluster; a name that nobody else would give to one of their own."""
    return f"thunderhead-{check_name(name)}"


def state_dir(name: str) -> Path:
    return cache_root() / "kind" / check_name(name)


def _create(name: str, helm: Path, tell: Say) -> KindCluster:
    state = state_dir(name)
    state.mkdir(parents=True)
    with phase("kind's nodes", tell):
        _kind(name, "create", "cluster", "--config", SETTINGS, "--kubeconfig", state / "kubeconfig", "--wait", "180s")
    with phase("S3 and Prometheus", tell):
        server = _start_s3(name, tell)
        _start_prometheus(name)
    (state / "cluster.json").write_text(json.dumps({"s3": asdict(server), "helm": str(helm)}))
    return KindCluster(name, server, helm)


def _remove(name: str, tell: Say) -> None:
    if not traces(name):
        return
    with phase(f"removing cluster {name}", tell):
        for role in ("s3", "prometheus"):
            if succeeds(run, "docker", "inspect", _beside(name, role)):
                run("docker", "rm", "--force", "--volumes", _beside(name, role))
        _kind(name, "delete", "cluster")
        if state_dir(name).exists():
            shutil.rmtree(state_dir(name))


def _build_images(tell: Say) -> Images:
    with locked("images", tell), staged_context() as context:
        images = images_of(context, _BASE)
        for target, image in asdict(images).items():
            if not succeeds(run, "docker", "image", "inspect", image):
                log = cache_root() / "log" / f"image-{target}.log"
                with phase(f"image {target}", tell), host_settings() as settings:
                    command = _build_command(target, image, settings, wheels())
                    run_logged(*command, context, log=log, env={"DOCKER_BUILDKIT": "1"})
    return images


def _build_command(target: str, image: str, settings: Mapping[str, Path], wheels: Path | None) -> list[Argument]:
    """Secrets rather than files of the context: nothing of this machine's settings stays in the image."""
    command: list[Argument] = ["docker", "build", "--target", target, "--tag", image, "--build-arg", f"BASE={_BASE}"]
    for name, file in settings.items():
        command += ["--secret", f"id={name},src={file}"]
    return [*command, "--build-context", f"wheels={wheels}"] if wheels is not None else command


def _start_s3(name: str, tell: Say) -> S3Server:
    """versitygw in an image of that one program, its objects in volumes of the container's own."""
    program = build_program("versitygw", tell) / "versitygw"
    (state_dir(name) / "s3.Dockerfile").write_text(_S3_DOCKERFILE)
    image = f"localhost/thunderhead-s3:{program.parent.name.rpartition('-')[2]}"
    run("docker", "build", "--tag", image, "--file", state_dir(name) / "s3.Dockerfile", program.parent)
    server = s3.describe(_inspect(_control_plane(name), _ADDRESS))
    keys = (f"ROOT_ACCESS_KEY={server.admin.access}", f"ROOT_SECRET_KEY={server.admin.secret}")
    volumes = ("--volume", "/buckets", "--volume", "/accounts", "--env", keys[0], "--env", keys[1])
    listen = ("--port", f":{s3.PORT}", "--iam-dir", "/accounts", "--keep-alive", "--quiet", "posix", "/buckets")
    _beside_control_plane(name, "s3", *volumes, image, *listen)
    wait_until(lambda: s3.answers(server), "S3 server answers", timeout_s=60)
    s3.ensure_denied_account(server, program)
    return server


def _start_prometheus(name: str) -> None:
    """This build of Prometheus finds pods itself, with the kubeconfig that is meant for the control plane's network."""
    home = state_dir(name) / "prometheus"
    prometheus.rules_dir(state_dir(name)).mkdir(parents=True)
    (home / "kubeconfig").write_text(_kind(name, "get", "kubeconfig", "--internal"))
    inside = Path("/etc/thunderhead")
    settings = prometheus.settings(prometheus.pods_of(inside / "kubeconfig"), inside / "rules")
    (home / "prometheus.yml").write_text(json.dumps(settings))
    options = (f"--config.file={inside / 'prometheus.yml'}", "--web.enable-lifecycle")
    # The container's user is not the owner of the kubeconfig, which nobody else may read.
    user = ("--user", "0", "--volume", f"{home}:{inside}:ro")
    _beside_control_plane(name, "prometheus", *user, _PROMETHEUS_IMAGE, *options)


def _beside_control_plane(name: str, role: str, *words: Argument) -> None:
    network, label = f"container:{_control_plane(name)}", f"{_LABEL}={name}"
    run("docker", "run", "--detach", "--name", _beside(name, role), "--label", label, "--network", network, *words)


def _beside(name: str, role: str) -> str:
    return f"{kind_name(name)}-{role}"


def _control_plane(name: str) -> str:
    return f"{kind_name(name)}-control-plane"


def _kind(name: str, *words: Argument) -> str:
    """Runs kind on the cluster `name`; what it says of its progress is in the error if it fails."""
    return run(_program("kind"), *words, "--name", kind_name(name))


def _inspect(container: str, template: str) -> str:
    return run("docker", "inspect", "--format", template, container).strip()


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ClusterError(f"{name} is not on PATH: where docker runs, the cluster is made by kind, used by kubectl")
    return Path(found)
