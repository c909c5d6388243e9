"""Everything that happens to one job, written down as it happens: its versions, its pods, its steps.

Watches and followed logs run in threads beside the test, so a test waits for what it wants to see and finds out
afterwards when it happened and what else did. Nothing here changes the cluster.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import urllib3

from .api import JOBS, PODS, Api, ApiError, Object

LABEL_JOB = "thunderhead.dev/job"
LABEL_ATTEMPT = "thunderhead.dev/attempt"
LABEL_NODE_RANK = "thunderhead.dev/node-rank"
CONTAINER = "trainer"
_WATCH_S = 300

T = TypeVar("T")

_STEP = re.compile(r"probe step=(\d+) attempt=(\d+) loss=(\S+)")
_RANK = re.compile(r"probe rank=(\d+) world=(\d+) attempt=(\d+) host=(\S+)")


class NotInTime(AssertionError):
    """What a test waited for did not come."""


@dataclass(frozen=True)
class Step:
    """One training step as rank 0 printed it; `at` is the node's time of the line, in Unix seconds."""

    attempt: int
    step: int
    loss: str
    at: float


@dataclass(frozen=True)
class Rank:
    """A rank as it announced itself when its training began."""

    rank: int
    world: int
    attempt: int
    host: str


@dataclass(frozen=True)
class Seen:
    """One version of an object, and when its watch event arrived here (Unix seconds)."""

    kind: str
    object: Object
    at: float


@dataclass
class _Record:
    jobs: list[Seen] = field(default_factory=list)
    pods: list[Seen] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    ranks: list[Rank] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    versions: set[tuple[str, str, str]] = field(default_factory=set)


class Observer:
    """Watches one job from before it exists until `stop`."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._record = _Record()
        self._news = threading.Condition()
        self._stopped = threading.Event()
        self._followed: set[str] = set()
        for target in (self._watch_job, self._watch_pods):
            threading.Thread(target=self._keep_going, args=(target,), daemon=True).start()

    def stop(self) -> None:
        """Lets the threads end; what was seen stays."""
        self._stopped.set()

    @property
    def job_versions(self) -> list[Seen]:
        with self._news:
            return list(self._record.jobs)

    @property
    def pod_versions(self) -> list[Seen]:
        with self._news:
            return list(self._record.pods)

    @property
    def steps(self) -> list[Step]:
        """Every step of every attempt, in the order of their times."""
        with self._news:
            return sorted(self._record.steps, key=lambda step: step.at)

    @property
    def ranks(self) -> list[Rank]:
        with self._news:
            return list(self._record.ranks)

    def log(self, pod: str) -> list[str]:
        """What a pod has printed, its time before each line; also after it is gone."""
        with self._news:
            return list(self._record.logs.get(pod, []))

    def logged_pods(self) -> list[str]:
        with self._news:
            return sorted(self._record.logs)

    def wait(self, look: Callable[[], T | None], what: str, *, timeout_s: float) -> T:
        """Looks again after every piece of news until `look` returns something true; raises NotInTime."""
        deadline = time.monotonic() + timeout_s
        while True:
            if found := look():
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotInTime(f"{self._namespace}/{self._name}: {what}: not within {timeout_s:g} s")
            with self._news:
                self._news.wait(min(left, 0.5))

    def _keep_going(self, watch: Callable[[], None]) -> None:
        """A watch ends by its time-out, or breaks when a node or the server does; it begins again until `stop`."""
        while not self._stopped.is_set():
            try:
                watch()
            except (ApiError, urllib3.exceptions.HTTPError, ValueError):
                self._stopped.wait(0.2)

    def _watch_job(self) -> None:
        for kind, job in self._api.watch(JOBS, self._namespace, name=self._name, timeout_s=_WATCH_S):
            if kind == "ERROR" or self._stopped.is_set():
                return
            self._note(self._record.jobs, kind, job)

    def _watch_pods(self) -> None:
        labels = f"{LABEL_JOB}={self._name}"
        for kind, pod in self._api.watch(PODS, self._namespace, labels=labels, timeout_s=_WATCH_S):
            if kind == "ERROR" or self._stopped.is_set():
                return
            self._note(self._record.pods, kind, pod)
            if kind != "DELETED" and _has_started(pod):
                self._follow(pod["metadata"]["name"], pod["metadata"]["uid"])

    def _note(self, versions: list[Seen], kind: str, thing: Object) -> None:
        """Keeps a version once, though every new watch begins with what there is."""
        metadata = thing["metadata"]
        deleted = "DELETED" if kind == "DELETED" else ""
        with self._news:
            version = (metadata["uid"], metadata["resourceVersion"], deleted)
            if version not in self._record.versions:
                self._record.versions.add(version)
                versions.append(Seen(kind, thing, time.time()))
                self._news.notify_all()

    def _follow(self, pod: str, uid: str) -> None:
        if uid not in self._followed:
            self._followed.add(uid)
            threading.Thread(target=self._read_log, args=(pod,), daemon=True).start()

    def _read_log(self, pod: str) -> None:
        """Follows a log to its end; begins again after the last line where the connection broke."""
        path = PODS.path(self._namespace, pod, "log")
        query = {"container": CONTAINER, "follow": "true", "timestamps": "true"}
        for _ in range(20):
            try:
                had = len(self.log(pod))
                for number, line in enumerate(self._api.lines(path, query, read_timeout_s=120)):
                    if number >= had:
                        self._note_line(pod, line)
                    if self._stopped.is_set():
                        return
                return
            except (ApiError, urllib3.exceptions.HTTPError) as error:
                if (isinstance(error, ApiError) and error.status == 404) or self._stopped.wait(0.5):
                    return

    def _note_line(self, pod: str, line: str) -> None:
        with self._news:
            self._record.logs.setdefault(pod, []).append(line)
            stamp, _, text = line.partition(" ")
            if found := _STEP.search(text):
                step = Step(int(found[2]), int(found[1]), found[3], unix_seconds(stamp))
                self._record.steps.append(step)
            elif found := _RANK.search(text):
                self._record.ranks.append(Rank(int(found[1]), int(found[2]), int(found[3]), found[4]))
            self._news.notify_all()


def unix_seconds(rfc3339: str) -> float:
    """Unix seconds of a Kubernetes timestamp, nanoseconds cut to microseconds."""
    base, dot, rest = rfc3339.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{base}{dot}{rest[:6]}+00:00").timestamp()


def attempt_of(pod: Object) -> int:
    return int(pod["metadata"]["labels"][LABEL_ATTEMPT])


def trainer_status(pod: Object) -> dict[str, Any]:
    """The container status of the trainer; empty before there is one."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == CONTAINER), {})


def _has_started(pod: Object) -> bool:
    state = trainer_status(pod).get("state", {})
    return "running" in state or "terminated" in state
