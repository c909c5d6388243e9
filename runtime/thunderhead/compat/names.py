"""Lightning's public names: in which modules they are found, where ours live, and why some have none.

``MODULES`` follows Lightning 2.6.6. A name without a home can be imported and explains itself when it is used.
"""

from __future__ import annotations

from typing import Final

from thunderhead.compat.internal_names import INTERNALS
from thunderhead.compat.reasons import reason

__all__ = ["INTERNALS", "MODULES", "ROOTS", "VERSION", "canonical", "home", "reason", "submodules"]

VERSION: Final = "2.6.6"
ROOTS: Final = ("lightning", "pytorch_lightning", "lightning_fabric")
_SAME: Final = {"pytorch_lightning": "lightning.pytorch", "lightning_fabric": "lightning.fabric"}

_RANK_ZERO: Final = "rank_zero_deprecation rank_zero_info rank_zero_only rank_zero_warn"
_RANK_ZERO_MODULE: Final = (
    f"{_RANK_ZERO} rank_zero_debug rank_prefixed_message WarningCache LightningDeprecationWarning"
)
_ENVIRONMENTS: Final = (
    "ClusterEnvironment KubeflowEnvironment LSFEnvironment LightningEnvironment MPIEnvironment SLURMEnvironment "
    "TorchElasticEnvironment XLAEnvironment"
)
_PRECISIONS: Final = (
    "BitsandbytesPrecision DeepSpeedPrecision DoublePrecision FSDPPrecision HalfPrecision MixedPrecision Precision "
    "TransformerEnginePrecision XLAPrecision"
)
_IO: Final = "CheckpointIO TorchCheckpointIO XLACheckpointIO"
_SUMMARY: Final = "DeepSpeedSummary LayerSummary ModelSummary get_human_readable_count summarize"
_TYPES: Final = (
    "DistributedDataParallel EVAL_DATALOADERS LRSchedulerConfig LRSchedulerConfigType LRSchedulerPLType "
    "LRSchedulerType LRSchedulerTypeTuple LRSchedulerTypeUnion OptimizerConfig OptimizerLRScheduler "
    "OptimizerLRSchedulerConfig STEP_OUTPUT TRAIN_DATALOADERS"
)
_ACCELERATORS: Final = (
    "Accelerator CPUAccelerator CUDAAccelerator MPSAccelerator XLAAccelerator find_usable_cuda_devices"
)
_SHARED: Final = {
    "accelerators": _ACCELERATORS,
    "accelerators.accelerator": "Accelerator",
    "accelerators.cpu": "CPUAccelerator",
    "accelerators.cuda": "CUDAAccelerator find_usable_cuda_devices",
    "accelerators.mps": "MPSAccelerator",
    "accelerators.xla": "XLAAccelerator",
    "plugins.environments": _ENVIRONMENTS,
    "plugins.environments.cluster_environment": "ClusterEnvironment",
    "plugins.environments.kubeflow": "KubeflowEnvironment",
    "plugins.environments.lightning": "LightningEnvironment",
    "plugins.environments.lsf": "LSFEnvironment",
    "plugins.environments.mpi": "MPIEnvironment",
    "plugins.environments.slurm": "SLURMEnvironment",
    "plugins.environments.torchelastic": "TorchElasticEnvironment",
    "plugins.environments.xla": "XLAEnvironment",
    "plugins.io": _IO,
    "plugins.precision": _PRECISIONS,
    "plugins.precision.amp": "MixedPrecision",
    "plugins.precision.bitsandbytes": "BitsandbytesPrecision",
    "plugins.precision.deepspeed": "DeepSpeedPrecision",
    "plugins.precision.double": "DoublePrecision",
    "plugins.precision.fsdp": "FSDPPrecision",
    "plugins.precision.half": "HalfPrecision",
    "plugins.precision.precision": "Precision",
    "plugins.precision.transformer_engine": "TransformerEnginePrecision",
    "plugins.precision.xla": "XLAPrecision",
    "strategies.ddp": "DDPStrategy",
    "strategies.deepspeed": "DeepSpeedStrategy",
    "strategies.fsdp": "FSDPStrategy",
    "strategies.model_parallel": "ModelParallelStrategy",
    "strategies.parallel": "ParallelStrategy",
    "strategies.single_device": "SingleDeviceStrategy",
    "strategies.single_xla": "SingleDeviceXLAStrategy",
    "strategies.strategy": "Strategy",
    "strategies.xla": "XLAStrategy",
}
_BORING: Final = "BoringDataModule BoringModel DemoModel"
_DEMOS: Final = f"{_BORING} ManualOptimBoringModel RandomDataset RandomIterableDataset"
_LEARNERS: Final = f"{_DEMOS} LightningLSTM LightningTransformer SequenceSampler SimpleLSTM Transformer"
_DEVICES: Final = (
    "find_shared_parameters garbage_collection_cuda is_oom_error recursive_detach reset_seed set_shared_parameters"
)
_FABRIC_HELPERS: Final = (
    "DistributedSamplerWrapper convert_tensors_to_scalars convert_to_tensors extract_batch_size has_len_all_ranks "
    "is_shared_filesystem pl_worker_init_function"
)
_STRATEGIES: Final = "DDPStrategy DeepSpeedStrategy FSDPStrategy ModelParallelStrategy ParallelStrategy Strategy"

_PYTORCH: Final = {
    **_SHARED,
    "": "Callback LightningDataModule LightningModule Trainer seed_everything",
    "callbacks": (
        "BackboneFinetuning BaseFinetuning BasePredictionWriter BatchSizeFinder Callback Checkpoint DeviceStatsMonitor "
        "EMAWeightAveraging EarlyStopping GradientAccumulationScheduler LambdaCallback LearningRateFinder "
        "LearningRateMonitor ModelCheckpoint ModelPruning ModelSummary OnExceptionCheckpoint ProgressBar "
        "RichModelSummary RichProgressBar SpikeDetection StochasticWeightAveraging TQDMProgressBar ThroughputMonitor "
        "Timer WeightAveraging"
    ),
    "callbacks.batch_size_finder": "BatchSizeFinder",
    "callbacks.callback": "Callback",
    "callbacks.checkpoint": "Checkpoint",
    "callbacks.device_stats_monitor": "DeviceStatsMonitor",
    "callbacks.early_stopping": "EarlyStopping EarlyStoppingReason",
    "callbacks.finetuning": "BackboneFinetuning BaseFinetuning",
    "callbacks.gradient_accumulation_scheduler": "GradientAccumulationScheduler",
    "callbacks.lambda_function": "LambdaCallback",
    "callbacks.lr_finder": "LearningRateFinder",
    "callbacks.lr_monitor": "LearningRateMonitor",
    "callbacks.model_checkpoint": "ModelCheckpoint",
    "callbacks.model_summary": "ModelSummary",
    "callbacks.on_exception_checkpoint": "OnExceptionCheckpoint",
    "callbacks.prediction_writer": "BasePredictionWriter WriteInterval",
    "callbacks.progress": "ProgressBar RichProgressBar TQDMProgressBar",
    "callbacks.progress.progress_bar": "ProgressBar",
    "callbacks.progress.rich_progress": "RichProgressBar RichProgressBarTheme",
    "callbacks.progress.tqdm_progress": "TQDMProgressBar Tqdm",
    "callbacks.pruning": "ModelPruning",
    "callbacks.rich_model_summary": "RichModelSummary",
    "callbacks.spike": "SpikeDetection",
    "callbacks.stochastic_weight_avg": "StochasticWeightAveraging",
    "callbacks.throughput_monitor": "ThroughputMonitor",
    "callbacks.timer": "Timer Interval",
    "callbacks.weight_averaging": "EMAWeightAveraging WeightAveraging",
    "cli": (
        "ArgsType LRSchedulerCallable LRSchedulerTypeTuple LRSchedulerTypeUnion LightningArgumentParser LightningCLI "
        "OptimizerCallable ReduceLROnPlateau SaveConfigCallback instantiate_class instantiate_module"
    ),
    "core": "LightningDataModule LightningModule",
    "core.datamodule": "LightningDataModule",
    "core.hooks": "CheckpointHooks DataHooks ModelHooks",
    "core.mixins": "HyperparametersMixin",
    "core.mixins.hparams_mixin": "HyperparametersMixin",
    "core.module": "LightningModule",
    "core.optimizer": "LightningOptimizer",
    "core.saving": (
        "load_hparams_from_tags_csv load_hparams_from_yaml save_hparams_to_tags_csv save_hparams_to_yaml update_hparams"
    ),
    "demos": _BORING,
    "demos.boring_classes": _DEMOS,
    "demos.lstm": "LightningLSTM SequenceSampler SimpleLSTM",
    "demos.mnist_datamodule": "MNIST MNISTDataModule",
    "demos.transformer": "LightningTransformer Transformer WikiText2",
    "loggers": "CSVLogger CometLogger LitLogger Logger MLFlowLogger TensorBoardLogger WandbLogger",
    "loggers.comet": "CometLogger",
    "loggers.csv_logs": "CSVLogger ExperimentWriter",
    "loggers.litlogger": "LitLogger",
    "loggers.logger": "DummyExperiment DummyLogger Logger rank_zero_experiment",
    "loggers.mlflow": "MLFlowLogger",
    "loggers.neptune": "NeptuneLogger",
    "loggers.tensorboard": "TensorBoardLogger",
    "loggers.wandb": "WandbLogger",
    "overrides": "",
    "overrides.distributed": "UnrepeatedDistributedSampler",
    "plugins": f"{_PRECISIONS} {_IO} AsyncCheckpointIO LayerSync TorchSyncBatchNorm",
    "plugins.io": f"{_IO} AsyncCheckpointIO",
    "plugins.io.async_plugin": "AsyncCheckpointIO",
    "plugins.io.checkpoint_plugin": "CheckpointIO",
    "plugins.io.torch_plugin": "TorchCheckpointIO",
    "plugins.io.xla_plugin": "XLACheckpointIO",
    "plugins.layer_sync": "LayerSync TorchSyncBatchNorm",
    "profilers": "AdvancedProfiler PassThroughProfiler Profiler PyTorchProfiler SimpleProfiler XLAProfiler",
    "profilers.advanced": "AdvancedProfiler",
    "profilers.base": "PassThroughProfiler",
    "profilers.profiler": "Profiler",
    "profilers.pytorch": "PyTorchProfiler",
    "profilers.simple": "SimpleProfiler",
    "profilers.xla": "XLAProfiler",
    "serve": "ServableModule ServableModuleValidator",
    "serve.servable_module": "ServableModule",
    "serve.servable_module_validator": "ServableModuleValidator",
    "accelerators": f"{_ACCELERATORS} AcceleratorRegistry",
    "strategies": f"{_STRATEGIES} SingleDeviceStrategy StrategyRegistry",
    "trainer": "Trainer seed_everything",
    "trainer.states": "RunningStage TrainerFn TrainerState TrainerStatus",
    "trainer.trainer": "Trainer",
    "tuner": "Tuner",
    "tuner.tuning": "Tuner",
    "utilities": (
        "AttributeDict CombinedLoader GradClipAlgorithmType LightningEnum disable_possible_user_warnings "
        "find_shared_parameters grad_norm is_picklable is_shared_filesystem measure_flops move_data_to_device "
        f"set_shared_parameters suggested_max_num_workers {_RANK_ZERO}"
    ),
    "utilities.combined_loader": "CombinedLoader",
    "utilities.compile": "from_compiled to_uncompiled",
    "utilities.data": "extract_batch_size has_len_all_ranks",
    "utilities.deepspeed": "convert_zero_checkpoint_to_fp32_state_dict",
    "utilities.enums": "GradClipAlgorithmType LightningEnum",
    "utilities.exceptions": "MisconfigurationException SIGTERMException",
    "utilities.grads": "grad_norm",
    "utilities.memory": "garbage_collection_cuda is_oom_error recursive_detach",
    "utilities.model_helpers": "is_overridden",
    "utilities.model_summary": _SUMMARY,
    "utilities.model_summary.model_summary": _SUMMARY,
    "utilities.model_summary.model_summary_deepspeed": "DeepSpeedLayerSummary DeepSpeedSummary",
    "utilities.parameter_tying": "find_shared_parameters set_shared_parameters",
    "utilities.parsing": "AttributeDict is_picklable lightning_getattr lightning_hasattr lightning_setattr",
    "utilities.rank_zero": _RANK_ZERO_MODULE,
    "utilities.seed": "isolate_rng",
    "utilities.types": _TYPES,
    "utilities.warnings": "PossibleUserWarning disable_possible_user_warnings",
}

_FABRIC: Final = {
    **_SHARED,
    "": "Fabric is_wrapped seed_everything",
    "fabric": "Fabric",
    "loggers": "CSVLogger Logger TensorBoardLogger",
    "loggers.csv_logs": "CSVLogger",
    "loggers.logger": "Logger rank_zero_experiment",
    "loggers.tensorboard": "TensorBoardLogger",
    "plugins": f"{_PRECISIONS} {_IO} ClusterEnvironment",
    "plugins.collectives": "Collective SingleDeviceCollective TorchCollective",
    "plugins.collectives.collective": "Collective",
    "plugins.collectives.single_device": "SingleDeviceCollective",
    "plugins.collectives.torch_collective": "TorchCollective",
    "plugins.io.checkpoint_io": "CheckpointIO",
    "plugins.io.torch_io": "TorchCheckpointIO",
    "plugins.io.xla": "XLACheckpointIO",
    "strategies": (
        f"{_STRATEGIES} DataParallelStrategy SingleDeviceStrategy SingleDeviceXLAStrategy XLAFSDPStrategy XLAStrategy"
    ),
    "strategies.dp": "DataParallelStrategy",
    "strategies.xla_fsdp": "XLAFSDPStrategy",
    "utilities": (
        "AttributeDict LightningEnum Throughput ThroughputMonitor disable_possible_user_warnings is_shared_filesystem "
        f"measure_flops move_data_to_device suggested_max_num_workers {_RANK_ZERO}"
    ),
    "utilities.apply_func": "convert_tensors_to_scalars convert_to_tensors move_data_to_device",
    "utilities.cloud_io": "get_filesystem",
    "utilities.data": "AttributeDict suggested_max_num_workers",
    "utilities.distributed": "DistributedSamplerWrapper is_shared_filesystem",
    "utilities.exceptions": "MisconfigurationException",
    "utilities.rank_zero": _RANK_ZERO_MODULE,
    "utilities.seed": "pl_worker_init_function reset_seed seed_everything",
    "utilities.spike": "SpikeDetection TrainingSpikeException",
    "utilities.throughput": "Throughput ThroughputMonitor get_available_flops measure_flops",
    "utilities.types": "LRScheduler ReduceLROnPlateau",
    "utilities.warnings": "PossibleUserWarning disable_possible_user_warnings",
    "wrappers": "is_wrapped",
}

MODULES: Final[dict[str, frozenset[str]]] = {
    "lightning": frozenset(
        ("Callback", "Fabric", "LightningDataModule", "LightningModule", "Trainer", "seed_everything")
    ),
    **{f"lightning.pytorch.{name}".rstrip("."): frozenset(found.split()) for name, found in _PYTORCH.items()},
    **{f"lightning.fabric.{name}".rstrip("."): frozenset(found.split()) for name, found in _FABRIC.items()},
}
"""Names by module."""

_HOMES: Final[dict[str, str | None]] = {
    "Trainer": "trainer.trainer",
    "LightningModule": "user.module",
    "LightningDataModule": "user.datamodule",
    **dict.fromkeys(("CheckpointHooks", "DataHooks"), "core.hooks"),
    "ModelHooks": "core.hooks:ModuleHooks",
    **dict.fromkeys(("AttributeDict", "HyperparametersMixin"), "core.hparams"),
    "LightningOptimizer": "core.optimizer",
    "grad_norm": "core.gradients",
    **dict.fromkeys(("LayerSummary", "summarize"), "user.summary"),
    "get_human_readable_count": "user.summary:readable",
    "lightning.pytorch.utilities.model_summary.ModelSummary": "user.summary",
    "lightning.pytorch.utilities.model_summary.model_summary.ModelSummary": "user.summary",
    **dict.fromkeys(
        (
            "BackboneFinetuning",
            "BaseFinetuning",
            "BasePredictionWriter",
            "BatchSizeFinder",
            "Callback",
            "Checkpoint",
            "DeviceStatsMonitor",
            "EMAWeightAveraging",
            "EarlyStopping",
            "GradientAccumulationScheduler",
            "LambdaCallback",
            "LearningRateFinder",
            "LearningRateMonitor",
            "ModelCheckpoint",
            "ModelPruning",
            "ModelSummary",
            "OnExceptionCheckpoint",
            "ProgressBar",
            "RichModelSummary",
            "RichProgressBar",
            "RichProgressBarTheme",
            "SpikeDetection",
            "StochasticWeightAveraging",
            "TQDMProgressBar",
            "ThroughputMonitor",
            "Timer",
            "WeightAveraging",
        ),
        "callbacks",
    ),
    "EarlyStoppingReason": "callbacks.early_stopping",
    "Tqdm": "callbacks.tqdm_class",
    "WriteInterval": "callbacks.prediction_writer",
    "TrainingSpikeException": "callbacks.spike",
    **dict.fromkeys(("Throughput", "get_available_flops", "measure_flops"), "throughput"),
    "Tuner": "tuner",
    "lightning.fabric.utilities.ThroughputMonitor": "fabric.rates",
    "lightning.fabric.utilities.throughput.ThroughputMonitor": "fabric.rates",
    "lightning.fabric.utilities.spike.SpikeDetection": None,
    **dict.fromkeys(("CSVLogger", "Logger", "TensorBoardLogger"), "loggers"),
    **dict.fromkeys(("MLFlowLogger", "WandbLogger"), "loggers"),
    "ExperimentWriter": "loggers.csv_logger:CSVWriter",
    "rank_zero_experiment": "loggers.logger:rank_zero_only",
    **dict.fromkeys(("DummyExperiment", "DummyLogger"), "loggers.dummy"),
    **dict.fromkeys(
        (
            "load_hparams_from_tags_csv",
            "load_hparams_from_yaml",
            "save_hparams_to_tags_csv",
            "save_hparams_to_yaml",
            "update_hparams",
        ),
        "files.hparams_files",
    ),
    "lightning.fabric.loggers.CSVLogger": "fabric.loggers",
    "lightning.fabric.loggers.TensorBoardLogger": "fabric.loggers",
    "lightning.fabric.loggers.csv_logs.CSVLogger": "fabric.loggers",
    "lightning.fabric.loggers.tensorboard.TensorBoardLogger": "fabric.loggers",
    **dict.fromkeys(("DoublePrecision", "HalfPrecision", "MixedPrecision", "Precision"), "precision"),
    **dict.fromkeys(("AsyncCheckpointIO", "CheckpointIO", "TorchCheckpointIO"), "files.checkpoint_io"),
    **dict.fromkeys(("LayerSync", "TorchSyncBatchNorm"), "layer_sync"),
    **dict.fromkeys(("ClusterEnvironment", "LightningEnvironment", "TorchElasticEnvironment"), "distributed.cluster"),
    **dict.fromkeys(
        ("KubeflowEnvironment", "LSFEnvironment", "MPIEnvironment", "SLURMEnvironment"), "distributed.batch_systems"
    ),
    **dict.fromkeys(
        ("Accelerator", "CPUAccelerator", "CUDAAccelerator", "MPSAccelerator", "find_usable_cuda_devices"),
        "accelerators",
    ),
    "Fabric": "fabric.fabric",
    "is_wrapped": "fabric.wrappers",
    "DDPStrategy": "distributed.strategy",
    "FSDPStrategy": "distributed.fsdp",
    "ModelParallelStrategy": "distributed.model_parallel",
    "lightning.fabric.strategies.ModelParallelStrategy": "fabric.parallelize",
    "lightning.fabric.strategies.model_parallel.ModelParallelStrategy": "fabric.parallelize",
    "ParallelStrategy": "distributed.parallel",
    "Strategy": "distributed.strategy",
    "SingleDeviceStrategy": "distributed.strategy:Strategy",
    **dict.fromkeys(("RunningStage", "TrainerFn", "TrainerState", "TrainerStatus"), "core.state"),
    "CombinedLoader": "data.combined",
    "move_data_to_device": "tensors:move_to_device",
    "MisconfigurationException": "exceptions",
    "SIGTERMException": "core.ending",
    "PossibleUserWarning": "warning",
    "is_overridden": "hooks.overriding",
    **dict.fromkeys(("isolate_rng", "seed_everything"), "rng"),
    **dict.fromkeys((*_RANK_ZERO_MODULE.split(), "disable_possible_user_warnings"), "compat.rank_zero"),
    **dict.fromkeys((*_TYPES.split(), "GradClipAlgorithmType", "LRScheduler"), "compat.types"),
    "ReduceLROnPlateau": "compat.types",
    **dict.fromkeys(("Interval", "LightningEnum"), "compat.internals"),
    "get_filesystem": "compat.internal_files",
    **dict.fromkeys(
        ("instantiate_class", "is_picklable", "lightning_getattr", "lightning_hasattr", "lightning_setattr"),
        "compat.internal_arguments",
    ),
    **dict.fromkeys(_DEVICES.split(), "compat.internal_devices"),
    "suggested_max_num_workers": "data.loader_warnings",
    **dict.fromkeys(_FABRIC_HELPERS.split(), "compat.internal_fabric"),
    **dict.fromkeys(("AcceleratorRegistry", "StrategyRegistry"), "compat.registries"),
    **dict.fromkeys(_LEARNERS.split(), "user.demos"),
    **{f"lightning.pytorch.cli.{name}": "cli" for name in _PYTORCH["cli"].split() if name != "instantiate_class"},
    **dict.fromkeys(
        ("AdvancedProfiler", "PassThroughProfiler", "Profiler", "PyTorchProfiler", "SimpleProfiler"), "profilers"
    ),
}


def canonical(module: str) -> str:
    """A module's name under the root ``lightning``: ``pytorch_lightning.x`` → ``lightning.pytorch.x``."""
    root, dot, rest = module.partition(".")
    return _SAME.get(root, root) + dot + rest


def home(module: str, name: str) -> str | None:
    """Where ``name`` of the canonical ``module`` lives in our package, as ``module:name``; None where it does not."""
    found = _HOMES.get(f"{module}.{name}", _HOMES.get(name))
    return found if found is None or ":" in found else f"{found}:{name}"


def submodules(module: str) -> list[str]:
    """Names of the modules right below the canonical ``module``."""
    start = f"{module}."
    known = {*MODULES, *INTERNALS}
    return sorted({found[len(start) :].partition(".")[0] for found in known if found.startswith(start)})
