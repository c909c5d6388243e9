"""``spec`` of a TrainingJob: what a user asks for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from thunderhead_api.trainer import ClassSpec, TrainerSpec

DnsLabel = Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[
    str, StringConstraints(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1)
]


class Model(BaseModel):
    """Base of every Kubernetes-side model: camelCase on the wire, nothing unknown, frozen."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid", serialize_by_alias=True
    )


class Command(StrEnum):
    """What the trainer is asked to do."""

    FIT = "fit"
    VALIDATE = "validate"
    TEST = "test"
    PREDICT = "predict"


class ConfigMapSource(Model):
    """Python files from a ConfigMap of the job's namespace; its keys are the file names."""

    name: ObjectName


class InlineSource(Model):
    """Python files written into the job itself."""

    files: dict[Annotated[str, StringConstraints(max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")], str] = Field(
        min_length=1, max_length=64, description="File name → content."
    )


class Code(Model):
    """Where the user's Python files come from; absent: they are in the image."""

    config_map: ConfigMapSource | None = None
    inline: InlineSource | None = None


class Resources(Model):
    """Requests and limits of each pod, as Kubernetes spells them; any extended resource passes through."""

    limits: dict[str, int | str] = Field(default_factory=dict, max_length=32)
    requests: dict[str, int | str] = Field(default_factory=dict, max_length=32)


class S3(Model):
    """How to reach the object store; credentials come from the Secret or the pod's own identity."""

    endpoint: Annotated[str, StringConstraints(max_length=1024, pattern=r"^https?://[^/]+")] | None = None
    region: Annotated[str, StringConstraints(max_length=64)] | None = None
    credentials_secret_name: ObjectName | None = Field(
        default=None, description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


class Checkpoint(Model):
    """Committed job checkpoints."""

    uri: Annotated[
        str, StringConstraints(max_length=1024, pattern=r"^(s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/.*)?|file:///.+)$")
    ]
    every_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    every_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    keep: int = Field(default=3, ge=1, le=1000)
    resume: Annotated[str, StringConstraints(max_length=1024, pattern=r"^(Auto|Never|s3://.+|file:///.+)$")] = "Auto"
    s3: S3 | None = None


class RuleAction(StrEnum):
    """What a failure rule makes of a failure."""

    FAIL = "Fail"
    RESTART = "Restart"
    RESTART_FREE = "RestartFree"


class RestartRule(Model):
    """First rule that matches decides; every given field must match."""

    exit_codes: list[Annotated[int, Field(ge=0, le=255)]] = Field(default_factory=list, max_length=32)
    reasons: list[Annotated[str, StringConstraints(max_length=64)]] = Field(default_factory=list, max_length=32)
    message: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        default=None, description="Regular expression searched in the culprit's message."
    )
    action: RuleAction


class Restarts(Model):
    """The restart budget and its exceptions."""

    max_restarts: int = Field(default=3, ge=0, le=10_000)
    rules: list[RestartRule] = Field(default_factory=list, max_length=32)


class TrainingJobSpec(Model):
    """A training job: what to train, on what, and how to recover."""

    command: Command = Command.FIT
    module: ClassSpec
    datamodule: ClassSpec | None = None
    trainer: TrainerSpec = Field(default_factory=TrainerSpec)
    seed: Annotated[int, Field(ge=0, le=4_294_967_295)] | None = None
    code: Code | None = None
    image: Annotated[str, StringConstraints(max_length=1024, min_length=1)] | None = None
    nodes: int = Field(default=1, ge=1, le=10_000)
    processes_per_node: Annotated[int, Field(ge=1, le=1024)] | Literal["Auto"] = "Auto"
    resources: Resources = Field(default_factory=Resources)
    checkpoint: Checkpoint
    restarts: Restarts = Field(default_factory=Restarts)
    pod_template: dict[str, Any] | None = None
    suspend: bool = False
    managed_by: Annotated[str, StringConstraints(max_length=253)] | None = None
    startup_deadline_seconds: int = Field(default=1800, ge=1, le=31_536_000)
    active_deadline_seconds: Annotated[int, Field(ge=1, le=315_360_000)] | None = None
    termination_grace_period_seconds: int = Field(default=120, ge=1, le=86_400)
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] | None = None
