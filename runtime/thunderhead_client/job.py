"""One TrainingJob as it was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from thunderhead_api.conditions import is_finished, is_true
from thunderhead_api.job_exit import exit_code
from thunderhead_api.names import storage_root
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import API_VERSION, KIND, ConditionType
from thunderhead_api.validate import parse_spec


@dataclass(frozen=True)
class Job:
    """A job, its spec and status as models.

    Attributes:
        raw: the object as the API server gave it.
    """

    raw: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Of the job."""
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """It is in."""
        return str(self.raw["metadata"].get("namespace") or "")

    @property
    def uid(self) -> str:
        """Tells it from earlier and later jobs of the name; its checkpoints lie under it."""
        return str(self.raw["metadata"].get("uid") or "")

    @property
    def created_at(self) -> datetime:
        """By the API server's clock."""
        return datetime.fromisoformat(str(self.raw["metadata"]["creationTimestamp"])).astimezone(UTC)

    @cached_property
    def spec(self) -> TrainingJobSpec:
        """What was asked for.

        Raises:
            InvalidJob: it breaks a rule of this version: a newer one wrote it.
        """
        return parse_spec({"apiVersion": API_VERSION, "kind": KIND, **self.raw})

    @cached_property
    def status(self) -> TrainingJobStatus:
        """What the operator has written; what a newer one says beyond our models is left out."""
        return TrainingJobStatus.model_validate(self.raw.get("status") or {})

    @property
    def phase(self) -> str:
        """Summary for people."""
        return self.status.phase.value

    @property
    def is_finished(self) -> bool:
        """Complete or failed; nothing revives it."""
        return is_finished(self.status.conditions)

    @property
    def is_suspended(self) -> bool:
        """No pod of it runs, and none is wanted."""
        return bool(self.raw["spec"].get("suspend")) and is_true(self.status.conditions, ConditionType.SUSPENDED)

    @property
    def is_deleted(self) -> bool:
        """Its deletion was asked for."""
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def exit_code(self) -> int:
        """What a command that stands for the job ends with; meaningful once it is finished, or held."""
        return exit_code(self.status)

    @property
    def checkpoint_prefix(self) -> str:
        """Address below which everything lies that the job stores."""
        return storage_root(str(self.raw["spec"]["checkpoint"]["uri"]), self.namespace, self.name, self.uid)

    def __repr__(self) -> str:
        """Short, for notebooks."""
        progress = self.status.progress
        step = "" if progress is None else f" step={progress.step}"
        return f"<Job {self.namespace}/{self.name} {self.phase}{step}>"
