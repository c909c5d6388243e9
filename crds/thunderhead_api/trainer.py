"""``spec.module``, ``spec.datamodule`` and ``spec.trainer``: the vocabulary of a trainer configuration file.

Names are the Trainer's own (snake_case), so that a section of an existing configuration can be pasted in.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ClassPath = Annotated[
    str, StringConstraints(max_length=512, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$")
]
BatchLimit = (
    int | Annotated[str, StringConstraints(max_length=32, pattern=r"^([0-9]+(\.[0-9]+)?%|1 batch|[0-9]+ batches)$")]
)


class SnakeModel(BaseModel):
    """Base of the trainer's side: names as the Trainer spells them, nothing unknown, frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassSpec(SnakeModel):
    """An object to build: its class and the arguments of its ``__init__``."""

    class_path: ClassPath
    init_args: dict[str, Any] = Field(default_factory=dict)


class TrainerSpec(SnakeModel):
    """Arguments of the Trainer. ``devices`` and ``num_nodes`` follow from ``nodes`` and ``processesPerNode``."""

    max_epochs: Annotated[int, Field(ge=-1)] | None = None
    min_epochs: Annotated[int, Field(ge=0)] | None = None
    max_steps: Annotated[int, Field(ge=-1)] | None = None
    min_steps: Annotated[int, Field(ge=0)] | None = None
    max_time: (
        Annotated[str, StringConstraints(max_length=16, pattern=r"^[0-9]{2}:[0-9]{2}:[0-9]{2}:[0-9]{2}$")] | None
    ) = None
    precision: Annotated[str, StringConstraints(max_length=32)] | None = None
    limit_train_batches: BatchLimit | None = None
    limit_val_batches: BatchLimit | None = None
    limit_test_batches: BatchLimit | None = None
    limit_predict_batches: BatchLimit | None = None
    overfit_batches: BatchLimit | None = None
    val_check_interval: BatchLimit | None = None
    check_val_every_n_epoch: Annotated[int, Field(ge=1)] | None = None
    num_sanity_val_steps: Annotated[int, Field(ge=-1)] | None = None
    log_every_n_steps: Annotated[int, Field(ge=0)] | None = None
    accumulate_grad_batches: Annotated[int, Field(ge=1)] | None = None
    gradient_clip_val: (
        Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$")]
        | float
        | None
    ) = None
    gradient_clip_algorithm: Annotated[str, StringConstraints(max_length=8)] | None = None
    deterministic: bool | None = None
    callbacks: list[ClassSpec] = Field(default_factory=list, max_length=64)
    logger: list[ClassSpec] | None = Field(default=None, max_length=8)
