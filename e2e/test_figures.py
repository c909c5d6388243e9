"""The figures of the operator that no scenario measures in passing; `make bench-operator` measures them alone."""

from __future__ import annotations

import json
import queue
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .cluster.api import Cluster
from .support.api import JOBS, PODS, Api, Object
from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import ProbeJob, Site
from .support.observe import LABEL_JOB, unix_seconds
from .support.operators import Operators
from .support.run import Run, condition
from .support.waiting import eventually

SCENARIO = "figures"
SAMPLES = 20
FINISHED, RUNNING = 100, 10
NOWHERE = {"podTemplate": {"spec": {"nodeSelector": {"e2e/nowhere": "true"}}}}
"""No node has this label, so a pod is made and nothing is started: the cluster stays idle."""


@pytest.fixture
def first_pods(api: Api, site: Site) -> Iterator[queue.SimpleQueue[tuple[str, float]]]:
    """Names of jobs and times at which the watch event of a new pod of theirs arrived."""
    news: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
    stopped = threading.Event()

    def watch() -> None:
        for kind, pod in api.watch(PODS, site.namespace, labels=LABEL_JOB, timeout_s=300):
            if kind == "ADDED":
                news.put((pod["metadata"]["labels"][LABEL_JOB], time.perf_counter()))
            if stopped.is_set():
                return

    threading.Thread(target=watch, daemon=True).start()
    yield news
    stopped.set()


def test_a_job_gets_its_first_pod_at_once(
    api: Api, site: Site, operators: Operators, first_pods: queue.SimpleQueue[tuple[str, float]], figures: Figures
) -> None:
    operators.wait_ready()
    seconds = [create_to_pod(api, site, first_pods, f"latency-{index}") for index in range(SAMPLES)]
    middle = statistics.median(seconds) * 1000
    figures.note(SCENARIO, f"create answered → first pod's watch event, p50 of {SAMPLES}", middle, "ms", asked=150)
    figures.note(SCENARIO, "the slowest of them", max(seconds) * 1000, "ms")


def create_to_pod(api: Api, site: Site, news: queue.SimpleQueue[tuple[str, float]], name: str) -> float:
    """Seconds from the answer to a create call to the watch event of the job's first pod."""
    api.create(JOBS, site.namespace, ProbeJob(name=name, spec=NOWHERE).manifest(site))
    answered = time.perf_counter()
    try:
        while True:
            job, at = news.get(timeout=30)
            if job == name:
                return at - answered
    finally:
        api.delete(JOBS, site.namespace, name)
        gone = f"{LABEL_JOB}={name}"
        eventually(lambda: not api.list(PODS, site.namespace, labels=gone), f"the end of {name}", timeout_s=60)


def test_writes_of_an_undisturbed_job(
    cluster: Cluster, start: Start, operators: Operators, site: Site, figures: Figures
) -> None:
    """By the API server's audit log where there is one, else by the operator's own count; events included."""
    operators.wait_ready()
    before, began = calls_that_write(operators), time.time()
    run = start(ProbeJob(name="counted", nodes=3, samples=600, step_seconds=0.25))
    assert run.wait_end()["status"]["attempt"] == 1
    own = calls_that_write(operators) - before
    seen = audited_writes(cluster.audit_log, site.namespace, since=began) if cluster.audit_log else None
    writes = own if seen is None else seen.total()
    assert writes == own, f"the API server saw {seen}, the operator counted {own}"

    versions = [version.object for version in run.observer.job_versions]
    patches = sum(is_progress_only(one, next_one) for one, next_one in pairwise(versions))
    ran = run.observer.steps[-1].at - run.observer.steps[0].at
    bound = 12 + 3 + 1  # the pods, and the key that a job of several nodes has
    figures.note(SCENARIO, "lifecycle writes of a job of 3 pods, events included", writes - patches, asked=bound)
    figures.note(SCENARIO, "what they were", ", ".join(f"{n} {what}" for what, n in sorted((seen or {}).items())))
    figures.note(SCENARIO, f"progress patches in {ran:.0f} s of training", patches, asked=1 + int(ran / 10))
    assert writes - patches <= bound
    assert patches <= 1 + ran / 10


def audited_writes(log: Path, namespace: str, *, since: float) -> Counter[str]:
    """What the operator wrote to a namespace, by resource, as the API server saw it."""
    events = (json.loads(line) for line in log.read_text().splitlines() if line.endswith("}"))
    mine = (e for e in events if e["objectRef"].get("namespace") == namespace)
    recent = (e for e in mine if unix_seconds(e["requestReceivedTimestamp"]) >= since)
    return Counter(f"{e['verb']} {e['objectRef']['resource']}" for e in recent)


def calls_that_write(operators: Operators) -> int:
    """Writing calls of all replicas so far; PUT is the Lease's, which costs the same however many jobs there are."""
    counted = [sample for pod in operators.pods() for sample in operators.metrics(pod).items()]
    verbs = ("POST", "PATCH", "DELETE")
    wanted = [
        value for name, value in counted if "api_calls_total" in name and any(f'"{verb}"' in name for verb in verbs)
    ]
    return int(sum(wanted))


def is_progress_only(before: Object, after: Object) -> bool:
    """Whether a write changed nothing but how far training is."""
    moving = {"progress", "goodput", "checkpoint"}
    fixed = [{k: v for k, v in job.get("status", {}).items() if k not in moving} for job in (before, after)]
    return fixed[0] == fixed[1]


@pytest.fixture
def crowd(operator: object, api: Api, site: Site) -> Iterator[list[Run]]:
    """A hundred finished jobs (declared so by an administrator) and ten that train."""
    for index in range(FINISHED):
        declare_finished(api, site, f"finished-{index}")
    slow: dict[str, Any] = {"step_seconds": 1.0, "samples": 4 * 10_000, "every_steps": 10_000}
    runs = [Run.of(api, ProbeJob(name=f"running-{index}", **slow), site).submit() for index in range(RUNNING)]
    yield runs
    for run in runs:
        run.remove()
    for index in range(FINISHED):
        api.delete(JOBS, site.namespace, f"finished-{index}")


@pytest.mark.timeout(600)
def test_memory_of_the_operator(crowd: list[Run], operators: Operators, api: Api, figures: Figures) -> None:
    for run in crowd:
        run.wait_step(2, timeout_s=300)
        run.wait_condition("Running")
    pod = max(operators.pods(), key=lambda pod: operators.metrics(pod)["process_resident_memory_bytes"])
    resident = operators.metrics(pod)["process_resident_memory_bytes"] / 1e6
    what = f"operator memory with {FINISHED} finished and {RUNNING} running jobs"
    figures.note(SCENARIO, f"{what}, resident", resident, "MB", asked=150)
    assert resident <= 150


def declare_finished(api: Api, site: Site, name: str) -> None:
    """A job that has never had a pod, with a status that says it is complete."""
    api.create(JOBS, site.namespace, ProbeJob(name=name, spec={"suspend": True}).manifest(site))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    complete = {
        "type": "Complete",
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": now,
        "reason": "Completed",
        "message": "declared so",
    }
    status = {"phase": "Complete", "conditions": [complete], "finishedAt": now, "observedGeneration": 1}
    api.patch(JOBS, site.namespace, name, {"status": status}, sub="status")
    assert condition(api.get(JOBS, site.namespace, name), "Complete")
