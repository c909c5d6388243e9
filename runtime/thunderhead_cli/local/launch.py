"""From a pod's manifest to processes of this machine: pure; nothing is started or written here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thunderhead_api.messages import FrozenJob
from thunderhead_api.treaty import (
    AGENT_COMMAND,
    CODE_DIR,
    CONTAINER,
    JOB_DIR,
    JOB_FILE_NAME,
    KEY_DIR,
    KEY_FILE_NAME,
    Env,
)
from thunderhead_cli.local.devices import VISIBLE, machine_devices, pod_devices

LOOPBACK = "127.0.0.1"
PORT_FILE = "agent.port"  # in the scratch directory, as the agent writes it
NODE_PREFIX = "local-"
AGENT = (sys.executable, *AGENT_COMMAND[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to write and start for one pod.

    Attributes:
        argv: the command line.
        env: the whole environment of the process.
        cwd: directory it starts in, where relative paths of the user's code lead.
        files: path → content, to be written before the start; ``private``: those for this user's eyes only.
        termination_file: where the agent leaves its record.
        port_file: where the agent tells the port of its HTTP server; it takes any free one.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    files: dict[Path, str]
    private: frozenset[Path]
    termination_file: Path
    port_file: Path


def plan_launch(
    pod: Mapping[str, Any],
    config_maps: Mapping[str, Mapping[str, str]],
    secrets: Mapping[str, Mapping[str, str]],
    *,
    directory: Path,
    here: Path,
    rendezvous_port: int,
    environment: Mapping[str, str],
    results: Path | None = None,
    command: tuple[str, ...] = AGENT,
) -> Launch:
    """How to run ``pod`` in ``directory``.

    Args:
        pod: the manifest as the operator renders it.
        config_maps: data by name, of every ConfigMap the pod mounts.
        secrets: decoded data by name, of those the operator makes; a user's own are not here, and left out.
        directory: of this pod alone.
        here: where Python files are looked for when the job has no ``code``: a cluster has them in the image.
        rendezvous_port: free on the loopback address; the same for all pods of an attempt.
        environment: of this command; the pod inherits it (a virtual environment, credentials, proxies).
        results: where it starts, and where files of loggers go; by default in the pod's scratch.
        command: what to run.

    Raises:
        KeyError: a ConfigMap that the pod mounts is not there (yet).
    """
    container = trainer_container(pod)
    private = _mounted_files(container, _sources(pod, "secret", "secretName", known=secrets), secrets, directory)
    files = _mounted_files(container, _sources(pod, "configMap", "name"), config_maps, directory) | private
    run_dir = directory / "run"
    termination_file = directory / "termination.json"
    inherited = {key: value for key, value in environment.items() if not key.startswith("THUNDERHEAD_")}
    env = {"PYTHONUNBUFFERED": "1"} | inherited
    declared = _declared(pod, container)
    env |= declared | ({"HOME": inherited["HOME"]} if "HOME" in inherited else {})
    env |= {
        Env.JOB_FILE: str(_local(directory, JOB_DIR) / JOB_FILE_NAME),
        Env.CODE_DIR: str(_local(directory, CODE_DIR) if Env.CODE_DIR in declared else here),
        **({Env.KEY_FILE: str(_local(directory, KEY_DIR) / KEY_FILE_NAME)} if Env.KEY_FILE in declared else {}),
        Env.RUN_DIR: str(run_dir),
        Env.RESULTS_DIR: str(results or run_dir),
        Env.TERMINATION_FILE: str(termination_file),
        Env.RENDEZVOUS_HOST: LOOPBACK,
        Env.RENDEZVOUS_PORT: str(rendezvous_port),
        Env.AGENT_HOST: LOOPBACK,
        Env.AGENT_PORT: "0",
    }
    env |= _devices(env, files)
    return Launch(
        argv=command,
        env=env,
        cwd=results or run_dir,
        files=files,
        private=frozenset(private),
        termination_file=termination_file,
        port_file=run_dir / PORT_FILE,
    )


def _devices(env: Mapping[str, str], files: Mapping[Path, str]) -> dict[str, str]:
    """The pod's share of this machine's GPUs, where it has any."""
    devices = machine_devices(env)
    text = files.get(Path(env[Env.JOB_FILE]))
    if not devices or text is None:
        return {}
    job = FrozenJob.model_validate_json(text)
    share = pod_devices(
        devices,
        node_rank=int(env[Env.NODE_RANK]),
        nodes=job.nodes,
        processes_per_node=job.processes_per_node,
    )
    return {VISIBLE: ",".join(share)}


def trainer_container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container ``trainer`` of a pod; sidecars do not run here."""
    containers: Sequence[Mapping[str, Any]] = pod["spec"]["containers"]
    return next(container for container in containers if container["name"] == CONTAINER)


def node_name(node_rank: int) -> str:
    """Name of the pretended node that runs this rank's pod."""
    return f"{NODE_PREFIX}{node_rank}"


def _declared(pod: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, str]:
    """Variables of the manifest. Those from Secrets are this command's own: there is no cluster to ask."""
    declared = {}
    for variable in container.get("env") or []:
        if "value" in variable:
            declared[variable["name"]] = str(variable["value"])
        elif (path := (variable.get("valueFrom") or {}).get("fieldRef", {}).get("fieldPath")) is not None:
            declared[variable["name"]] = _field(pod, path)
    return declared


def _field(pod: Mapping[str, Any], path: str) -> str:
    value: Any = {**pod, "status": {"podIP": LOOPBACK, "hostIP": LOOPBACK}}
    for part in path.split("."):
        value = (value or {}).get(part)
    return "" if value is None else str(value)


def _sources(
    pod: Mapping[str, Any], field: str, its_name: str, known: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Objects that volumes of a kind come from, by volume; those that are ``known``, where that is said."""
    volumes = pod["spec"].get("volumes") or []
    sources = {volume["name"]: volume[field][its_name] for volume in volumes if volume.get(field)}
    return {volume: source for volume, source in sources.items() if known is None or source in known}


def _mounted_files(
    container: Mapping[str, Any], sources: Mapping[str, str], data: Mapping[str, Mapping[str, str]], directory: Path
) -> dict[Path, str]:
    return {
        _local(directory, mount["mountPath"]) / name: content
        for mount in container.get("volumeMounts") or []
        if mount["name"] in sources
        for name, content in data[sources[mount["name"]]].items()
    }


def _local(directory: Path, path: str) -> Path:
    """Where a path of the container lies on this machine."""
    return directory / "root" / path.lstrip("/")
