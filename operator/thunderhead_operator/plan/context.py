"""A job as a decision sees it, and everything else it sees, in one frozen context."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from pydantic import ValidationError

from thunderhead_api.conditions import Reason, is_finished, is_true
from thunderhead_api.messages import StatusReply
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.spec_hash import spec_hash
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import MANAGED_BY, NODES_MAX, TREATY_VERSION, Cause, ConditionType, Label
from thunderhead_api.validate import InvalidJob, parse_spec
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.kinds import Kind, of_attempts
from thunderhead_operator.plan.objects import Obj, int_label, owner_uid, section
from thunderhead_operator.plan.observed import Observed
from thunderhead_operator.plan.pods import PodView, view_pod


class Stage(StrEnum):
    """Where a job is, read from its status alone."""

    IDLE = "Idle"  # no attempt is promised: not begun, suspended, or held
    CREATING = "Creating"  # an attempt is promised, not all of its pods have been seen
    RUNNING = "Running"  # all pods were seen; one that is missing was deleted
    ENDING = "Ending"  # its end is promised, pods are being stopped
    FINISHED = "Finished"


@dataclass(frozen=True)
class Job:
    """The object, parsed; ``spec`` is None where it breaks the rules, ``problem`` says how and ``refused_as`` what."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    spec: TrainingJobSpec | None
    problem: str | None
    refused_as: str
    status: TrainingJobStatus
    raw: Obj

    @classmethod
    def parse(cls, obj: Obj) -> Job:
        """Read a job's JSON.

        Raises:
            ValueError: if the status, which only operators write, is not one that this version understands.
        """
        meta = section(obj, "metadata")
        spec, problem, refused_as = _parse_spec(obj)
        try:
            status = TrainingJobStatus.model_validate(section(obj, "status"))
        except ValidationError as error:
            where = f"{meta.get('namespace')}/{meta.get('name')}"
            raise ValueError(f"status of {where} was not written by this version: {error}") from error
        return cls(
            namespace=str(meta["namespace"]),
            name=str(meta["name"]),
            uid=str(meta["uid"]),
            generation=int(meta.get("generation", 0)),
            resource_version=str(meta.get("resourceVersion", "")),
            deleting="deletionTimestamp" in meta,
            spec=spec,
            problem=problem,
            refused_as=refused_as,
            status=status,
            raw=obj,
        )

    @property
    def is_ours(self) -> bool:
        """False when ``managedBy`` gives the job to another controller, or it is being deleted."""
        return self._is_managed and not self.deleting

    @property
    def is_going(self) -> bool:
        """It was ours and is being deleted."""
        return self._is_managed and self.deleting

    @property
    def _is_managed(self) -> bool:
        return section(self.raw, "spec").get("managedBy") in (None, MANAGED_BY)

    @property
    def stage(self) -> Stage:
        """See :class:`Stage`."""
        status = self.status
        if is_finished(status.conditions):
            return Stage.FINISHED
        if status.ending is not None:
            return Stage.ENDING
        if status.attempt_started_at is None or is_true(status.conditions, ConditionType.SUSPENDED):
            return Stage.IDLE
        return Stage.CREATING if status.pods_created_at is None else Stage.RUNNING

    @property
    def suspend(self) -> bool:
        """What the user wants, whatever else is wrong with the spec."""
        return section(self.raw, "spec").get("suspend") is True

    @cached_property
    def spec_hash(self) -> str | None:
        """Hash of the spec as it is now; None where it is invalid."""
        return None if self.spec is None else spec_hash(self.spec)


def _parse_spec(obj: Obj) -> tuple[TrainingJobSpec | None, str | None, str]:
    try:
        return parse_spec(obj), None, ""
    except InvalidJob as error:
        return None, str(error), Cause.INVALID_CONFIGURATION if error.excessive else Reason.INVALID_SPEC


def nodes_of(status: TrainingJobStatus) -> int:
    """Pods of the attempt that ``status`` promises. Bounded, for the number is only as good as whoever may edit a
    status."""
    return max(0, min(status.nodes.total, NODES_MAX))


@dataclass(frozen=True)
class Context:
    """Everything a rule may look at."""

    job: Job
    observed: Observed
    now: datetime
    config: Config

    @property
    def status(self) -> TrainingJobStatus:
        """The status as it was read."""
        return self.job.status

    @cached_property
    def pods(self) -> tuple[PodView, ...]:
        """Our pods of any attempt; a pod of another owner that carries our label is not ours."""
        return tuple(view_pod(pod) for pod in self.observed.of(Kind.POD) if owner_uid(pod) == self.job.uid)

    @cached_property
    def current(self) -> dict[int, PodView]:
        """Pods of the running attempt by node rank."""
        return {pod.node_rank: pod for pod in self.pods if pod.attempt == self.status.attempt}

    @cached_property
    def ghosts(self) -> dict[int, PodView]:
        """Last sight of pods of the running attempt that are gone, by node rank."""
        views = (view_pod(pod) for pod in self.observed.ghosts if owner_uid(pod) == self.job.uid)
        return {v.node_rank: v for v in views if v.attempt == self.status.attempt and v.node_rank not in self.current}

    @cached_property
    def num_nodes(self) -> int:
        """Pods that the attempt has; it was promised with this number, whatever the spec says by now."""
        return nodes_of(self.status)

    @property
    def missing(self) -> list[int]:
        """Node ranks of the attempt without a pod."""
        return [rank for rank in range(self.num_nodes) if rank not in self.current]

    @property
    def reply(self) -> StatusReply | None:
        """The newest answer of this attempt's agent; another attempt's, uid's or treaty's is ignored."""
        reply = self.observed.sample.reply if self.observed.sample else None
        wanted = (TREATY_VERSION, self.job.uid, self.status.attempt)
        return reply if reply and (reply.treaty, reply.uid, reply.attempt) == wanted else None

    @property
    def highest_attempt(self) -> int:
        """Largest attempt number that status or any child of ours bears, so that none is ever used twice."""
        children = (child for kind in of_attempts() for child in self.observed.of(kind))
        labels = (int_label(child, Label.ATTEMPT) for child in children if owner_uid(child) == self.job.uid)
        return max(self.status.attempt, *labels, 0)
