"""Runs the pods of a cluster that exists in memory only: what kubelets do, for all pretended nodes at once."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from thunderhead_api.treaty import Env, Label
from thunderhead_cli.local import podstatus
from thunderhead_cli.local.agents import is_healthy
from thunderhead_cli.local.launch import AGENT, LOOPBACK, Launch, node_name, plan_launch
from thunderhead_cli.local.logs import LOG_NAME, last_lines
from thunderhead_cli.local.process import PodProcess
from thunderhead_cli.local.rundir import writing


class PodStore(Protocol):
    """What a kubelet asks of the cluster."""

    def pods(self) -> list[dict[str, Any]]:
        """Every pod there is, deleted ones that still run included."""
        ...

    def config_maps(self) -> Mapping[str, Mapping[str, str]]:
        """Data of every ConfigMap by name."""
        ...

    def secrets(self) -> Mapping[str, Mapping[str, str]]:
        """Data of every Secret by name, decoded."""
        ...

    def bind(self, name: str, uid: str, node: str) -> None:
        """Set the node of a pod, as the scheduler does."""
        ...

    def report(self, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """Replace the status of a pod; nothing happens if it is gone."""
        ...

    def remove(self, name: str, uid: str) -> None:
        """Take a deleted pod whose processes have ended out of the cluster."""
        ...


@dataclass(slots=True)
class Pod:
    """A pod whose agent was started."""

    name: str
    uid: str
    attempt: int
    node_rank: int
    launch: Launch
    process: PodProcess
    since: datetime
    watch: asyncio.Task[int] | None = None
    ready: bool = False
    asked_to_stop: bool = False
    reported: bool = False
    _port: int | None = None

    @property
    def port(self) -> int | None:
        """Where the agent answers; None until it listens."""
        if self._port is None and (text := _read(self.launch.port_file)):
            self._port = int(text)
        return self._port


@dataclass(slots=True)
class Kubelet:
    """Makes processes agree with pods, whenever :meth:`sync` is called.

    Attributes:
        store: the cluster.
        pod_dir: directory of a pod, by name.
        here: where code is that a cluster has in the image.
        environment: what the agents inherit.
        now: the wall clock.
        command: what runs in every pod.
        results: where pods start, so that relative paths of all attempts lead to one directory; None: their scratch.
        changed: set whenever a process has ended, so that a waiting loop looks again at once.
    """

    store: PodStore
    pod_dir: Callable[[str], Path]
    here: Path
    environment: Mapping[str, str]
    now: Callable[[], datetime]
    command: tuple[str, ...] = AGENT
    results: Path | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _pods: dict[str, Pod] = field(default_factory=dict)
    _rendezvous: dict[int, int] = field(default_factory=dict)
    _jobs: set[str] = field(default_factory=set)

    async def sync(self) -> None:
        """One pass: start, stop, probe and report."""
        wanted = {pod["metadata"]["uid"]: pod for pod in self.store.pods()}
        for uid, manifest in wanted.items():
            if uid in self._pods:
                await self._keep(self._pods[uid], manifest)
            elif "deletionTimestamp" in manifest["metadata"]:
                self.store.remove(manifest["metadata"]["name"], uid)  # nothing of it ever ran
            else:
                await self._start(manifest)
        for uid in [uid for uid in self._pods if uid not in wanted]:
            await self._forget(self._pods.pop(uid))

    def running(self, node_rank: int) -> Pod | None:
        """The pod of the newest attempt on this node whose agent runs."""
        pods = [p for p in self._pods.values() if p.node_rank == node_rank and p.process.exit_code is None]
        return max(pods, key=lambda pod: pod.attempt, default=None)

    def logs(self) -> list[Path]:
        """Logs of every pod that was started, in the order of nodes."""
        pods = sorted(self._pods.values(), key=lambda pod: (pod.attempt, pod.node_rank))
        return [self.pod_dir(pod.name) / LOG_NAME for pod in pods]

    async def close(self) -> None:
        """SIGKILL to everything that still runs, and clean up what killed agents could not."""
        for pod in self._pods.values():
            pod.process.kill()
        await asyncio.gather(*(pod.watch for pod in self._pods.values() if pod.watch is not None))
        for uid in self._jobs:
            remove_boards(uid)

    async def _start(self, manifest: dict[str, Any]) -> None:
        meta = manifest["metadata"]
        name, uid, labels = meta["name"], meta["uid"], meta["labels"]
        attempt, node_rank = int(labels[Label.ATTEMPT]), int(labels[Label.NODE_RANK])
        manifest = {**manifest, "spec": {**manifest["spec"], "nodeName": node_name(node_rank)}}
        self._rendezvous.setdefault(attempt, free_port())
        directory = self.pod_dir(name)
        try:
            launch = plan_launch(
                manifest,
                self.store.config_maps(),
                self.store.secrets(),
                directory=directory,
                here=self.here,
                rendezvous_port=self._rendezvous[attempt],
                environment=self.environment,
                results=self.results,
                command=self.command,
            )
        except KeyError as error:
            missing = f"configmap {error} not found"
            self.store.report(name, uid, podstatus.cannot_start("CreateContainerConfigError", missing))
            return
        self.store.bind(name, uid, node_name(node_rank))
        with writing(directory):
            lay_out(directory, launch)
        process = await PodProcess.start(launch.argv, env=launch.env, cwd=launch.cwd, log=directory / LOG_NAME)
        pod = Pod(name, uid, attempt, node_rank, launch, process, since=self.now())
        pod.watch = asyncio.create_task(self._watch(pod), name=f"watch of {name}")
        self._pods[uid] = pod
        self._jobs.add(launch.env.get(Env.UID, uid))
        self.store.report(name, uid, podstatus.running(pod.since, ready=False))

    async def _watch(self, pod: Pod) -> int:
        code = await pod.process.wait()
        self.changed.set()
        return code

    async def _keep(self, pod: Pod, manifest: Mapping[str, Any]) -> None:
        assert pod.watch is not None
        if pod.watch.done():
            self._report_end(pod, pod.watch.result(), deleted="deletionTimestamp" in manifest["metadata"])
        elif "deletionTimestamp" in manifest["metadata"]:
            self._stop(pod, datetime.fromisoformat(manifest["metadata"]["deletionTimestamp"]))
        elif not pod.ready and pod.port is not None and await is_healthy(pod.port):
            pod.ready = True
            self.store.report(pod.name, pod.uid, podstatus.running(pod.since, ready=True))

    def _stop(self, pod: Pod, due: datetime) -> None:
        """SIGTERM at first sight of the deletion; SIGKILL once its time is up (``due`` is its end, as in the API)."""
        if not pod.asked_to_stop:
            pod.asked_to_stop = True
            pod.process.terminate()
        if self.now() >= due:
            pod.process.kill()

    def _report_end(self, pod: Pod, exit_code: int, *, deleted: bool) -> None:
        """The end is reported first and the pod removed in a later pass, so that whoever looks sees the evidence."""
        if not pod.reported:
            pod.reported = True
            message = _read(pod.launch.termination_file)
            if not message and exit_code != 0:
                message = last_lines(self.pod_dir(pod.name) / LOG_NAME)
            status = podstatus.terminated(pod.since, self.now(), exit_code=exit_code, message=message)
            self.store.report(pod.name, pod.uid, status)
        elif deleted:
            self.store.remove(pod.name, pod.uid)

    async def _forget(self, pod: Pod) -> None:
        """Its object is gone, by force or because it has ended: nothing of it may run on."""
        pod.process.kill()
        if pod.watch is not None:
            await pod.watch


def lay_out(directory: Path, launch: Launch) -> None:
    """Write the files of a pod into its directory; what a pod of the same name left behind goes first."""
    shutil.rmtree(directory, ignore_errors=True)
    launch.cwd.mkdir(parents=True, exist_ok=True)
    launch.port_file.parent.mkdir(parents=True, exist_ok=True)
    for path, content in launch.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600 if path in launch.private else 0o666)
        path.write_text(content, encoding="utf-8")
    launch.termination_file.touch()
    os.chmod(launch.termination_file, 0o600)


def remove_boards(job_uid: str, shared_memory: Path = Path("/dev/shm")) -> None:
    """Boards of an agent that got SIGKILL stay in memory: no container's end takes them along here."""
    for board in shared_memory.glob(f"thunderhead-{job_uid}-*.board"):
        board.unlink(missing_ok=True)


def free_port() -> int:
    """A TCP port that nobody listens on at this moment.

    From below the range that systems give out themselves (from 32768 or 49152 on): node 0 listens only seconds later,
    and until then any connection of any program could be given a port of that range.
    """
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise RuntimeError("1000 ports between 20000 and 32000 are in use on 127.0.0.1; end the programs that hold them")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # not written: the exit code speaks, or the next look will find it
        return ""
