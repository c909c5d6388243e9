"""A privileged pod on every node, to do to processes what only the node's owner can: SIGKILL, without asking anybody.

Killing a container through Kubernetes sends SIGTERM first, and from inside a container nobody can kill its pid 1.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .api import DAEMON_SETS, NAMESPACES, NODES, PODS, Api, Object
from .waiting import eventually

NAMESPACE = "e2e-hands"

# Finds its victims first, says so, and kills on the next line of input: a kill takes effect within milliseconds.
_KILLER = """
import os, signal, sys
def words(pid):
    try:
        return open(f"/proc/{pid}/cmdline", "rb").read().decode().split("\\0")
    except OSError:
        return []
me = os.getpid()
pids = [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != me]
said = {p: " ".join(words(p)) for p in pids}
victims = [p for p in pids if sys.argv[1] in said[p] and "victims" not in said[p]]
print(len(victims), flush=True)
sys.stdin.readline()
for pid in victims:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
print("done", flush=True)
"""

# Counts processes by a word of their command line.
_COUNTER = _KILLER.partition("print(")[0] + "print(len(victims))"

# Leaves a process behind that copies a growing file of the kubelet's file system, and goes on when it has been deleted.
# No connection to it is needed, as none would survive its node's being frozen.
_KEEPER = """
import glob, os, sys, time
kubelet = next(p for p in glob.glob("/proc/[0-9]*") if open(p + "/comm").read().strip() == "kubelet")
source = open(kubelet + "/root" + sys.argv[1], "rb", buffering=0)
copy = open(sys.argv[2], "wb", buffering=0)
print("open", flush=True)
if os.fork() == 0:
    os.setsid()
    for fd in (0, 1, 2):
        os.close(fd)
    while True:
        copy.write(source.read())
        time.sleep(0.05)
"""
_KEPT = "/tmp/kept.log"
_PRINTER = "import sys; print(open(sys.argv[1]).read())"


class Hands:
    """Runs programs as root in the nodes' own process namespaces."""

    def __init__(self, api: Api, kubectl: Path, kubeconfig: Path, image: str) -> None:
        self._api = api
        self._command = [str(kubectl), f"--kubeconfig={kubeconfig}"]
        self._image = image

    def install(self) -> None:
        """Puts the pods onto the nodes and waits until they run."""
        self._api.apply(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        self._api.apply(DAEMON_SETS, NAMESPACE, _daemon_set(self._image))
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until there is one on every node, also on one that has just come back."""

        def is_ready() -> bool:
            status = self._api.get(DAEMON_SETS, NAMESPACE, "hands").get("status", {})
            return bool(status.get("numberReady", 0) == status.get("desiredNumberScheduled", 0) > 0)

        eventually(is_ready, "a hands pod on every node", timeout_s=120)

    def remove(self) -> None:
        self._api.delete(NAMESPACES, None, NAMESPACE)

    @contextmanager
    def aiming_at(self, node: str, word: str) -> Iterator[Trigger]:
        """Ready to SIGKILL every process of a node that has `word` in its command line."""
        with self._running(node, _KILLER, word) as process:
            assert process.stdout is not None
            number = int(process.stdout.readline() or "0")
            assert number > 0, f"no process with {word!r} in its command line on {node}"
            yield Trigger(process)

    def count(self, node: str, word: str) -> int:
        """How many processes of a node have `word` in their command line."""
        with self._running(node, _COUNTER, word) as process:
            assert process.stdout is not None
            return int(process.stdout.readline())

    def keep_log(self, node: str, pod: Object) -> None:
        """From now on copies the log of a pod's trainer on its node, even when the kubelet has forgotten the pod."""
        config = json.loads(self._api.text(NODES.path(None, node, "proxy/configz")))
        meta = pod["metadata"]
        directory = config["kubeletconfig"].get("podLogsDir", "/var/log/pods")
        path = f"{directory}/{meta['namespace']}_{meta['name']}_{meta['uid']}/trainer/0.log"
        with self._running(node, _KEEPER, path, _KEPT) as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "open", f"{path} on {node} cannot be read"

    def kept_log(self, node: str) -> str:
        """What has been copied."""
        with self._running(node, _PRINTER, _KEPT) as process:
            assert process.stdout is not None
            return process.stdout.read()

    @contextmanager
    def _running(self, node: str, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        pod = next(p for p in self._api.list(PODS, NAMESPACE) if p["spec"].get("nodeName") == node)
        command = [*self._command, "exec", "-i", "-n", NAMESPACE, pod["metadata"]["name"], "--"]
        words = [*command, "python", "-c", program, *arguments]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


class Trigger:
    """Kills when pulled."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def pull(self) -> None:
        """SIGKILL, and back when it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(os.linesep)
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == "done"


def _daemon_set(image: str) -> Object:
    labels = {"app": "hands"}
    container = {
        "name": "hands",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", "import signal; signal.pause()"],
        "securityContext": {"privileged": True, "runAsUser": 0},
    }
    pod = {
        "hostPID": True,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "hands"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
