"""``spec.module``, ``spec.datamodule`` and ``spec.trainer``: the vocabulary of a trainer configuration file.

Names are the Trainer's own (snake_case), so that a section of an existing configuration can be pasted in.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from thunderhead_api.hints import Obeys, Says, refuses

INT32_MAX: Final = 2**31 - 1
INT53_MAX: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

ClassPath = Annotated[
    str,
    StringConstraints(max_length=512, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$"),
    Says("must be module.Class, the name that Python imports"),
]
BatchShare = Annotated[
    str,
    StringConstraints(max_length=32, pattern=r"^([0-9]+(\.[0-9]+)?%|1 batch|[0-9]+ batches)$"),
    Says('must be a number of batches (25) or a share of them ("50%", not 0.5)'),
]
BatchLimit = Annotated[Annotated[int, Field(ge=0, le=INT53_MAX)] | BatchShare, Obeys(("notTheNumberOne",))]
Duration = Annotated[
    str,
    StringConstraints(max_length=16, pattern=r"^[0-9]{2}:[0-9]{2}:[0-9]{2}:[0-9]{2}$"),
    Says("must be DD:HH:MM:SS"),
]


class SnakeModel(BaseModel):
    """Base of the trainer's side: names as the Trainer spells them, nothing unknown, frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ClassSpec(SnakeModel):
    """An object to build: its class and the arguments of its __init__."""

    class_path: ClassPath
    """Where the class is imported from, as in digits.Classifier."""
    init_args: dict[str, Any] = Field(default_factory=dict, max_length=256)
    """Arguments of __init__ by name; a value may itself be a class_path with init_args."""


class TrainerSpec(SnakeModel):
    """Arguments of the Trainer. ``devices`` and ``num_nodes`` follow from ``nodes`` and ``processesPerNode``.

    What another argument of the job says, or what is no value of a file (a profiler, a plugin), is not here.
    """

    model_config = ConfigDict(
        json_schema_extra=refuses(
            {
                "devices": "is not written here: it follows from spec.processesPerNode and the accelerators in "
                "spec.resources",
                "num_nodes": "is not written here: write spec.nodes",
                "default_root_dir": "is not written here: files go to the pod's scratch directory, checkpoints to "
                "spec.checkpoint.uri",
            }
        )
    )

    max_epochs: Annotated[int, Field(ge=-1, le=INT32_MAX)] | None = None
    """Stop after so many epochs; -1 for no limit. Without max_epochs and max_steps: 1000."""
    min_epochs: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = None
    """Do not stop early before so many epochs."""
    max_steps: Annotated[int, Field(ge=-1, le=INT53_MAX)] | None = None
    """Stop after so many optimizer steps; -1 for no limit."""
    min_steps: Annotated[int, Field(ge=0, le=INT53_MAX)] | None = None
    """Do not stop early before so many optimizer steps."""
    max_time: Duration | None = None
    """Stop after this much training time, DD:HH:MM:SS."""
    precision: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Number format of training: 32-true (default), bf16-mixed, 16-mixed, bf16-true, 16-true or 64-true."""
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "tpu"] | None = None
    """Kind of device to train on; auto (default): a TPU or GPU where the pod has one, else the CPU."""
    strategy: (
        Literal["auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false", "fsdp"] | None
    ) = None
    """How processes train together; auto (default): DDP where there is more than one. fsdp: each holds a piece."""
    limit_train_batches: BatchLimit | None = None
    """Train on so many batches of an epoch (25), or on a share of them ("50%")."""
    limit_val_batches: BatchLimit | None = None
    """Validate on so many batches, or on a share of them; 0 for no validation."""
    limit_test_batches: BatchLimit | None = None
    """Test on so many batches, or on a share of them."""
    limit_predict_batches: BatchLimit | None = None
    """Predict so many batches, or a share of them."""
    overfit_batches: BatchLimit | None = None
    """Train and validate on the same few batches, to see whether the model can learn at all."""
    val_check_interval: BatchLimit | None = None
    """Validate after every so many training batches, or after a share of the epoch ("25%")."""
    check_val_every_n_epoch: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    """Validate in every n-th epoch."""
    num_sanity_val_steps: Annotated[int, Field(ge=-1, le=INT32_MAX)] | None = None
    """Validation batches to run before training starts, to find errors early; -1 for all."""
    log_every_n_steps: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = None
    """Log per-step metrics at every n-th step."""
    accumulate_grad_batches: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = None
    """Batches whose gradients are summed before one optimizer step."""
    gradient_clip_val: Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)] | None = None
    """Clip gradients to this norm (or value); 0 for no clipping."""
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    """What gradient_clip_val bounds: the norm of all gradients together, or each value."""
    deterministic: bool | None = None
    """Use deterministic algorithms only, and raise where there is none."""
    benchmark: bool | None = None
    """Let cuDNN try which algorithm is fastest; its choice may differ from run to run."""
    inference_mode: bool | None = None
    """Evaluate in inference mode (default) rather than under no_grad."""
    use_distributed_sampler: bool | None = None
    """Cut loaders into one part per rank (default); false: the datamodule does it itself."""
    sync_batchnorm: bool | None = None
    """Share BatchNorm statistics between ranks."""
    reload_dataloaders_every_n_epochs: Annotated[int, Field(ge=0, le=INT32_MAX)] | None = None
    """Ask the datamodule for its loaders again every n epochs; 0 (default): never."""
    detect_anomaly: bool | None = None
    """Find the operation that made the first NaN of a backward pass; slow."""
    fast_dev_run: bool | None = None
    """Run one batch of everything, without logs or files, to see whether it runs at all."""
    barebones: bool | None = None
    """Switch off everything that costs time: logs, files, progress, sanity checks."""
    enable_checkpointing: bool | None = None
    """Add a ModelCheckpoint, which writes .ckpt files for people, when callbacks has none; recovery needs none."""
    enable_progress_bar: bool | None = None
    """Print progress."""
    enable_model_summary: bool | None = None
    """Print what the module is made of."""
    enable_autolog_hparams: bool | None = None
    """Send hyper-parameters to the loggers."""
    callbacks: list[ClassSpec] = Field(default_factory=list, max_length=64)
    """Callbacks to build, called in this order."""
    logger: list[ClassSpec] | None = Field(default=None, max_length=8)
    """Loggers to build; left out: TensorBoard where installed, else a CSV file, in the pod's scratch; []: none."""
