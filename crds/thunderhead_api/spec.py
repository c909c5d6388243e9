"""``spec`` of a TrainingJob: what a user asks for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from thunderhead_api.hints import Says, obeys
from thunderhead_api.trainer import INT53_MAX, ClassSpec, TrainerSpec
from thunderhead_api.treaty import NODES_MAX

ObjectName = Annotated[
    str,
    StringConstraints(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
    Says("must be the name of an object: a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"),
]
FileName = Annotated[
    str,
    StringConstraints(max_length=253, pattern=r"^[_a-zA-Z0-9][-._a-zA-Z0-9]*$"),
    Says("must be file names without directories: letters, digits, '_', '-' and '.', not beginning with '.'"),
]
FileText = Annotated[str, StringConstraints(max_length=262_144)]
ResourceName = Annotated[
    str,
    StringConstraints(
        max_length=317, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ),
    Says("must be resource names like cpu, memory or nvidia.com/gpu"),
]
Quantity = (
    Annotated[int, Field(ge=0, le=INT53_MAX)]
    | Annotated[
        str,
        StringConstraints(
            max_length=64,
            pattern=r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][-+]?[0-9]+)?$",
        ),
        Says('must be a quantity of zero or more like 2, "500m" or "64Gi"'),
    ]
)
StorageUri = Annotated[
    str,
    StringConstraints(
        max_length=1024, pattern=r"^(s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/[^/?#]+)*/?|file:///[^?#]+)$"
    ),
    Says(
        "must be s3://bucket, s3://bucket/prefix or file:///directory; "
        "a bucket's name has 3 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
    ),
]
ResumeFrom = Annotated[
    str,
    StringConstraints(
        max_length=1024,
        pattern=r"^(Auto|Never|s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/[^/?#]+)+/?|file:///[^?#]+)$",
    ),
    Says(
        "must be Auto, Never, or the URI of a checkpoint (s3://bucket/… or file:///…); "
        "a bucket's name has 3 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
    ),
]
HttpUrl = Annotated[
    str,
    StringConstraints(max_length=1024, pattern=r"^https?://[^/?#@]+/?$"),
    Says("must be http://host:port or https://host:port, without path or credentials"),
]


class Model(BaseModel):
    """Base of every Kubernetes-side model: camelCase on the wire, nothing unknown, frozen."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        serialize_by_alias=True,
        use_attribute_docstrings=True,
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
    """Name of the ConfigMap. The first attempt copies it and every recovery runs that copy; an edit is taken by another
    spec, or by a new value of the annotation thunderhead.dev/restart."""


class InlineSource(Model):
    """Python files written into the job itself."""

    files: dict[FileName, FileText] = Field(min_length=1, max_length=64)
    """File name → content."""


class Code(Model):
    """Where the user's Python files come from; absent: they are in the image."""

    model_config = ConfigDict(json_schema_extra=obeys("oneCodeSource"))

    config_map: ConfigMapSource | None = None
    """Python files from a ConfigMap of the job's namespace; its keys are the file names."""
    inline: InlineSource | None = None
    """Python files written into the job itself."""


class Resources(Model):
    """Requests and limits of each pod, as Kubernetes spells them; any extended resource passes through."""

    model_config = ConfigDict(json_schema_extra=obeys("extendedAsLimits"))

    limits: dict[ResourceName, Quantity] = Field(default_factory=dict, max_length=32)
    """The most each pod may use; accelerators (nvidia.com/gpu) are asked for here."""
    requests: dict[ResourceName, Quantity] = Field(default_factory=dict, max_length=32)
    """What each pod is scheduled by; left out, the limits."""


class S3(Model):
    """How to reach the object store; credentials come from the Secret or the pod's own identity."""

    endpoint: HttpUrl | None = None
    """Address of an S3 server that is not AWS's."""
    region: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Region of the bucket."""
    credentials_secret_name: ObjectName | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; left out: the identity of the pod's service account."""


class Checkpoint(Model):
    """Committed job checkpoints, from which every recovery starts."""

    model_config = ConfigDict(json_schema_extra=obeys("s3OnlyWithS3"))

    uri: StorageUri
    """Where they go: s3://bucket/prefix, or file:///directory on a volume that all pods share."""
    every_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Commit one after every so many optimizer steps."""
    every_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    """Commit one when so many seconds have passed since the last; with everySteps, whichever comes first."""
    keep: int = Field(default=3, ge=1, le=1000)
    """How many to keep; older ones are deleted."""
    resume: ResumeFrom = "Auto"
    """Where the job begins: Auto (its own newest checkpoint, if there is one), Never, or the URI of a checkpoint."""
    settings_from: Literal["Checkpoint", "Module"] = "Checkpoint"
    """Where a resume has edited settings of optimizers and schedulers from: Checkpoint, which keeps the old ones, or
    Module, which takes what configure_optimizers makes now."""
    s3: S3 | None = None
    """How to reach the object store."""


class RuleAction(StrEnum):
    """What a failure rule makes of a failure."""

    FAIL = "Fail"
    RESTART = "Restart"
    RESTART_FREE = "RestartFree"


class RestartRule(Model):
    """First rule that matches decides; every given field must match."""

    model_config = ConfigDict(json_schema_extra=obeys("ruleSaysSomething", "reasonsAreFailures", "messageIsPattern"))

    exit_codes: list[Annotated[int, Field(ge=0, le=255)]] = Field(default_factory=list, max_length=32)
    """Exit codes of the process that failed first; of a signal 128 + its number, so 137 for SIGKILL."""
    reasons: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = Field(
        default_factory=list, max_length=32
    )
    """Causes as the ledger has them (OutOfMemory, Hung, Drained, …), names of exceptions (ValueError), of signals."""
    message: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Regular expression (RE2) searched in the message of the first failure."""
    action: RuleAction
    """Fail: the job has failed. Restart: charge the budget. RestartFree: restart without charging it."""


class Restarts(Model):
    """The restart budget and its exceptions."""

    max_restarts: int = Field(default=3, ge=0, le=10_000)
    """Charged restarts before the job has failed; node loss, drain, eviction and preemption are never charged."""
    rules: list[RestartRule] = Field(default_factory=list, max_length=32)
    """Exceptions: the first rule that matches a failure decides."""


class TrainingJobSpec(Model):
    """A training job: what to train, on what, and how to recover."""

    model_config = ConfigDict(json_schema_extra=obeys("managedByImmutable"))

    command: Command = Command.FIT
    """What to do: fit, validate, test or predict."""
    module: ClassSpec
    """The LightningModule to train."""
    datamodule: ClassSpec | None = None
    """The LightningDataModule with the data; left out, the module itself has the loaders."""
    trainer: TrainerSpec = Field(default_factory=TrainerSpec)
    """Arguments of the Trainer, spelled as the Trainer spells them."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_295)] | None = None
    """Seed of every random number generator of every rank; left out, they are seeded as Python and torch do it."""
    code: Code | None = None
    """Where the Python files come from; left out, they are in the image."""
    image: Annotated[str, StringConstraints(max_length=1024, min_length=1)] | None = None
    """Image of the pods; left out, the runtime image the operator was installed with."""
    nodes: int = Field(default=1, ge=1, le=NODES_MAX)
    """Pods of the job, one per machine."""
    processes_per_node: Annotated[int, Field(ge=1, le=1024)] | Literal["Auto"] = "Auto"
    """Training processes in each pod; Auto: one per accelerator, else one."""
    resources: Resources = Field(default_factory=Resources)
    """Requests and limits of each pod."""
    checkpoint: Checkpoint
    """Committed job checkpoints, from which every recovery starts."""
    restarts: Restarts = Field(default_factory=Restarts)
    """The restart budget and its exceptions."""
    pod_template: dict[str, Any] | None = None
    """A pod template laid over the one the operator renders; containers merge by name, ours is called trainer."""
    suspend: bool = False
    """True: commit a checkpoint and stop the pods; false again: go on from it."""
    managed_by: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """The controller responsible; when it is not thunderhead.dev/operator, this operator leaves the job alone."""
    startup_deadline_seconds: int = Field(default=1800, ge=1, le=31_536_000)
    """Time for all ranks of an attempt to meet; then the job has failed, naming those that are missing."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=315_360_000)] | None = None
    """Time the job may be active in all, not counting time suspended; then it has failed."""
    termination_grace_period_seconds: int = Field(default=120, ge=1, le=86_400)
    """Time a checkpoint may take when a pod is asked to stop."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] | None = None
    """Delete the finished job after so many seconds; left out, it stays."""
