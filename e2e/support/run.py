"""One job on the cluster: submitting it, waiting for it, disturbing it, and what to show when it goes wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from .api import EVENTS, JOBS, PODS, Api, ApiError, Object
from .jobs import ProbeJob, Site
from .observe import LABEL_JOB, Observer, Seen, Step, attempt_of, trainer_status

START_S = 180
"""Patience for all pods of an attempt to start training on a busy machine; not a bound that the product promises."""
T = TypeVar("T")


class Run:
    """A submitted job with its observer."""

    def __init__(self, api: Api, manifest: Object, *, wanted_steps: int = 0) -> None:
        self.api = api
        self.manifest = manifest
        self.wanted_steps = wanted_steps
        self.name: str = manifest["metadata"]["name"]
        self.namespace: str = manifest["metadata"]["namespace"]
        self.observer = Observer(api, self.namespace, self.name)
        self.created_at = 0.0
        """When the create call was answered, in Unix seconds."""
        self.uid = ""

    @classmethod
    def of(cls, api: Api, job: ProbeJob, site: Site) -> Run:
        return cls(api, job.manifest(site), wanted_steps=job.steps)

    def submit(self) -> Run:
        created = self.api.create(JOBS, self.namespace, self.manifest)
        self.created_at = time.time()
        self.uid = created["metadata"]["uid"]
        return self

    def job(self) -> Object:
        """The job as it is now."""
        return self.api.get(JOBS, self.namespace, self.name)

    def status(self) -> Object:
        status: Object = self.job().get("status", {})
        return status

    def pods(self) -> list[Object]:
        """The job's pods, also those that are being deleted."""
        return self.api.list(PODS, self.namespace, labels=f"{LABEL_JOB}={self.name}")

    def pod(self, node_rank: int, *, attempt: int) -> Object:
        return self.api.get(PODS, self.namespace, f"{self.name}-{attempt}-{node_rank}")

    def patch(self, spec: Object) -> None:
        """A merge patch of the spec, as `kubectl patch` does it."""
        self.api.patch(JOBS, self.namespace, self.name, {"spec": spec})

    def wait(self, look: Callable[[], T | None], what: str, *, timeout_s: float) -> T:
        return self.observer.wait(look, what, timeout_s=timeout_s)

    def wait_step(self, step: int, *, attempt: int = 1, timeout_s: float = START_S) -> Step:
        """The first step of an attempt that is at least `step`."""

        def look() -> Step | None:
            return next((s for s in self.observer.steps if s.attempt == attempt and s.step >= step), None)

        return self.wait(look, f"step {step} of attempt {attempt}", timeout_s=timeout_s)

    def wait_condition(self, kind: str, value: str = "True", *, timeout_s: float = START_S) -> Seen:
        """The first version of the job, by its watch, in which a condition had this value."""

        def look() -> Seen | None:
            return next((v for v in self.observer.job_versions if condition(v.object, kind, value)), None)

        return self.wait(look, f"condition {kind}={value}", timeout_s=timeout_s)

    def wait_suspended(self, *, timeout_s: float = START_S) -> None:
        """Until it is suspended, and says so."""

        def look() -> bool | None:
            job = self.job()
            return (condition(job, "Suspended") is not None and job["status"]["phase"] == "Suspended") or None

        self.wait(look, "phase Suspended", timeout_s=timeout_s)

    def wait_told(self, *reasons: str, timeout_s: float = START_S) -> dict[str, str]:
        """The notes of the job's events by reason, once these are among them: they are posted after the status."""

        def look() -> dict[str, str] | None:
            found = [e for e in self.api.list(EVENTS, self.namespace) if e["regarding"]["name"] == self.name]
            told = {event["reason"]: event["note"] for event in found}
            return told if set(reasons) <= set(told) else None

        return self.wait(look, f"the events {', '.join(reasons)}", timeout_s=timeout_s)

    def wait_end(self, kind: str = "Complete", *, timeout_s: float = START_S) -> Object:
        """The job once it has ended in this way; at once an error if it has ended in the other."""
        other = "Failed" if kind == "Complete" else "Complete"

        def look() -> Seen | None:
            versions = self.observer.job_versions
            for version in versions:
                assert not condition(version.object, other, "True"), f"{self.name} ended {other}, not {kind}"
            return next((v for v in versions if condition(v.object, kind, "True")), None)

        self.wait(look, f"condition {kind}", timeout_s=timeout_s)
        return self.job()

    def wait_no_pods(self, *, attempt: int, timeout_s: float) -> None:
        """Until no pod of an attempt exists any more."""

        def look() -> bool | None:
            return not any(attempt_of(pod) == attempt for pod in self.pods()) or None

        self.wait(look, f"the end of every pod of attempt {attempt}", timeout_s=timeout_s)

    def agent_status(self, node_rank: int, *, attempt: int) -> Object:
        """What the agent of a pod answers at /status, asked through the API server."""
        name = f"{self.name}-{attempt}-{node_rank}"
        path = PODS.path(self.namespace, f"{name}:9400", "proxy/status")
        reply: Object = json.loads(self.api.text(path, {"uid": self.uid, "attempt": str(attempt)}))
        return reply

    def remove(self, *, timeout_s: float = 60) -> None:
        """Deletes the job and waits until its pods are gone, impatiently: nothing of it matters any more."""
        self.api.delete(JOBS, self.namespace, self.name)
        for pod in self.pods():
            self.api.delete(PODS, self.namespace, pod["metadata"]["name"], grace_s=0)
        try:
            self.wait(lambda: not self.pods() or None, "the end of its pods", timeout_s=timeout_s)
        finally:
            self.observer.stop()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Adds the evidence to whatever goes wrong inside, and removes the job at the end."""
        try:
            yield
        except BaseException as error:
            error.add_note(self.evidence())
            raise
        finally:
            self.remove()

    def evidence(self) -> str:
        """Status, events, pods and the ends of all logs, for the report of a failed test."""
        parts = [f"===== job {self.namespace}/{self.name} ====="]
        for title, look in (("status", self._status_text), ("events", self._events_text), ("pods", self._pods_text)):
            try:
                parts.append(f"--- {title}\n{look()}")
            except ApiError as error:
                parts.append(f"--- {title}: {error}")
        for pod in self.observer.logged_pods():
            parts.append(f"--- log of {pod}\n" + "\n".join(self.observer.log(pod)[-40:]))
        return "\n".join(parts)

    def _status_text(self) -> str:
        return json.dumps(self.status(), indent=1)

    def _events_text(self) -> str:
        mine = [
            e for e in self.api.list(EVENTS, self.namespace) if e["regarding"].get("name", "").startswith(self.name)
        ]
        return "\n".join(
            f"{e['regarding']['kind']}/{e['regarding']['name']} {e.get('reason')}: {e.get('note')}" for e in mine
        )

    def _pods_text(self) -> str:
        lines = []
        for pod in self.pods():
            state = trainer_status(pod).get("state", {})
            where = pod["spec"].get("nodeName")
            lines.append(
                f"{pod['metadata']['name']} on {where}: {pod['status'].get('phase')} {json.dumps(state)[:1500]}"
            )
        return "\n".join(lines)


def condition(job: Object, kind: str, value: str = "True") -> Object | None:
    """The condition of this type, if it has this value."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind and one["status"] == value), None)
