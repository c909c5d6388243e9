"""``Jobs``: what a user does with the training jobs of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from thunderhead_api.treaty import API_VERSION, KIND, Annotation
from thunderhead_api.validate import InvalidJob, validate
from thunderhead_client.api import WATCH_S, Api
from thunderhead_client.connection import connect
from thunderhead_client.errors import JobNotFound, Refused
from thunderhead_client.job import Job
from thunderhead_client.resources import JOBS
from thunderhead_client.waiting import Change, Until, changes_of, wait_for


@dataclass(frozen=True, slots=True)
class Jobs:
    """Training jobs of one namespace.

    Attributes:
        api: of the cluster.
        namespace: of the jobs.
    """

    api: Api
    namespace: str

    @classmethod
    def connect(
        cls,
        kubeconfig: str | os.PathLike[str] | None = None,
        context: str | None = None,
        namespace: str | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
    ) -> Jobs:
        """The jobs that kubectl would see: of the same kubeconfig, context and namespace, or of the pod we are in.

        Raises:
            WrongKubeconfig: no cluster is named.
            MissingExtra: the client library is not installed.
        """
        way = connect(kubeconfig, context, environment=environment)
        return cls(Api(way), namespace or way.namespace)

    def list(self, *, labels: str = "", all_namespaces: bool = False) -> list[Job]:
        """Jobs that a label selector matches, by namespace and name."""
        found = self.api.all(JOBS, None if all_namespaces else self.namespace, labels=labels)
        return sorted((Job(obj) for obj in found), key=lambda job: (job.namespace, job.name))

    def get(self, name: str) -> Job:
        """One job.

        Raises:
            JobNotFound: there is none.
        """
        return Job(self.api.get(JOBS, self.namespace, name))

    def find(self, name: str) -> Job | None:
        """One job, or None."""
        try:
            return self.get(name)
        except JobNotFound:
            return None

    def submit(self, job: Mapping[str, Any]) -> Job:
        """Create a job, or bring the one of its name to what is said here, as ``kubectl apply`` does.

        Args:
            job: the object as YAML reads it; ``apiVersion`` and ``kind`` may be left out.

        Raises:
            InvalidJob: with every problem found.
            Refused: the API server does not take it, or the job of that name has ended already.
        """
        manifest = {"apiVersion": API_VERSION, "kind": KIND, **{k: v for k, v in job.items() if k != "status"}}
        problems = validate(manifest)
        if problems:
            raise InvalidJob(problems)
        if "name" not in manifest["metadata"]:
            return Job(self.api.create(JOBS, self.namespace, manifest))
        before = self.find(manifest["metadata"]["name"])
        if before is not None and before.is_finished:
            rule = f"has ended already ({before.phase}), and nothing revives it"
            raise Refused(KIND, before.name, rule, "delete it, or give another name")
        return Job(self.api.apply(JOBS, self.namespace, manifest))

    def suspend(self, name: str) -> Job:
        """Have it commit a checkpoint and stop its pods."""
        return self._ask(name, "be suspended", {"spec": {"suspend": True}})

    def resume(self, name: str) -> Job:
        """Go on from the newest checkpoint."""
        return self._ask(name, "be resumed", {"spec": {"suspend": False}})

    def restart(self, name: str, *, now: datetime | None = None) -> Job:
        """End the running attempt after a checkpoint, free of the restart budget, and begin another with the code as it
        is by then; of a suspended job the one that it resumes with."""
        value = (now or datetime.now(UTC)).isoformat(timespec="milliseconds")
        return self._ask(name, "be restarted", {"metadata": {"annotations": {Annotation.RESTART.value: value}}})

    def delete(self, name: str) -> Job:
        """Delete it with its pods; its checkpoints stay."""
        job = self.get(name)
        self.api.delete(JOBS, self.namespace, name, uid=job.uid)
        return job

    def stream(self, name: str, *, at_least_s: float = WATCH_S) -> Iterator[Change]:
        """The job as it is, then every change of it until it is gone; told anew after ``at_least_s`` without any."""
        return changes_of(self.api, self.namespace, name, at_least_s=at_least_s)

    def wait(self, name: str, until: Until | str = Until.FINISHED, *, timeout_s: float | None = None) -> Job:
        """Wait for a job to be finished, running, suspended, gone, or over (finished, suspended or held).

        Raises:
            TookTooLong: it is not so after ``timeout_s``.
            JobNotFound: there is none, or it was deleted meanwhile.
        """
        each_s = WATCH_S if timeout_s is None else max(1.0, min(WATCH_S, timeout_s))
        return wait_for(self.stream(name, at_least_s=each_s), Until(until), timeout_s=timeout_s)

    def _ask(self, name: str, what: str, patch: Mapping[str, Any]) -> Job:
        job = self.get(name)
        if job.is_finished:
            raise Refused(KIND, name, f"has ended ({job.phase}) and cannot {what}", "submit it anew under another name")
        return Job(self.api.patch(JOBS, self.namespace, name, patch))
