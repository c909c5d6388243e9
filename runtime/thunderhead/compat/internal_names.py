"""Names of Lightning's inside that libraries use and we offer, by module, and where each lives.

Chosen by how many public repositories import them. They are found beside the public names, and listed nowhere.
"""

from __future__ import annotations

from typing import Final

_CONNECTORS: Final = "lightning.pytorch.trainer.connectors"
_LOOPS: Final = "_EvaluationLoop _FitLoop _PredictionLoop _TrainingEpochLoop"
_FLAGS: Final = (
    "_BITSANDBYTES_AVAILABLE "
    "_IS_INTERACTIVE _IS_WINDOWS _NUMPY_AVAILABLE _OMEGACONF_AVAILABLE _PYTHON_GREATER_EQUAL_3_11_0 _RICH_AVAILABLE "
    "_TORCHMETRICS_GREATER_EQUAL_0_11 _TORCHMETRICS_GREATER_EQUAL_1_0_0 _TORCHVISION_AVAILABLE "
    "_TORCH_EQUAL_2_4_0 _TORCH_EQUAL_2_8 _TORCH_EQUAL_2_9 _TORCH_GREATER_EQUAL_2_0 _TORCH_GREATER_EQUAL_2_1 "
    "_TORCH_GREATER_EQUAL_2_2 _TORCH_GREATER_EQUAL_2_3 _TORCH_GREATER_EQUAL_2_4 _TORCH_GREATER_EQUAL_2_4_1 "
    "_TORCH_GREATER_EQUAL_2_5 _TORCH_GREATER_EQUAL_2_6 _TORCH_GREATER_EQUAL_2_8 _TORCH_LESS_EQUAL_2_6 "
    "RequirementCache compare_version module_available package_available"
)
_FILES: Final = "_is_dir _is_local_file_protocol _load _load_from_checkpoint get_filesystem"
_ARGUMENTS: Final = "collect_init_args get_init_args is_param_in_hook_signature"
_DEVICES: Final = (
    "_distributed_is_initialized _get_rank _optimizer_to_device _optimizers_to_device convert_inf is_cuda_available "
    "num_cuda_devices"
)
_OF_FABRIC: Final = "_NotYetLoadedTensor _lazy_load _materialize_meta_tensors _runif_reasons"
_FOUND: Final = {
    "lightning.fabric.plugins.precision.bitsandbytes": "_BITSANDBYTES_AVAILABLE",
    "lightning.fabric.utilities.init": "_materialize_meta_tensors",
    "lightning.fabric.utilities.load": "_NotYetLoadedTensor _lazy_load",
    "lightning.fabric.utilities.testing": "_runif_reasons",
    "lightning.fabric.wrappers": "_FabricDataLoader _FabricModule _FabricOptimizer",
    "lightning.fabric.accelerators.cuda": "is_cuda_available num_cuda_devices",
    "lightning.fabric.plugins.collectives.collective": "CollectibleGroup",
    "lightning.fabric.plugins.collectives.torch_collective": "CollectibleGroup default_pg_timeout",
    "lightning.fabric.strategies": "STRATEGY_REGISTRY",
    "lightning.fabric.utilities.cloud_io": "_is_dir _is_local_file_protocol _load",
    "lightning.fabric.utilities.distributed": "ReduceOp _distributed_is_initialized",
    "lightning.fabric.utilities.enums": "LightningEnum",
    "lightning.fabric.utilities.imports": _FLAGS,
    "lightning.fabric.utilities.optimizer": "_optimizer_to_device _optimizers_to_device",
    "lightning.fabric.utilities.rank_zero": "_get_rank",
    "lightning.fabric.utilities.types": (
        "CollectibleGroup Optimizable ReduceOp _DEVICE _MAP_LOCATION_TYPE _PARAMETERS _PATH _Stateful"
    ),
    "lightning.pytorch.callbacks.progress.progress_bar": "get_standard_metrics",
    "lightning.pytorch.callbacks.progress.rich_progress": "CustomProgress MetricsTextColumn",
    "lightning.pytorch.callbacks.progress.tqdm_progress": "convert_inf",
    "lightning.pytorch.core.saving": "_load_from_checkpoint get_filesystem",
    "lightning.pytorch.demos.boring_classes": "BoringDataModuleNoLen RandomIterableDatasetWithLen",
    "lightning.pytorch.loops": _LOOPS,
    "lightning.pytorch.loops.evaluation_loop": "_EvaluationLoop",
    "lightning.pytorch.loops.fit_loop": "_FitLoop",
    "lightning.pytorch.loops.prediction_loop": "_PredictionLoop",
    "lightning.pytorch.loops.training_epoch_loop": "_TrainingEpochLoop",
    "lightning.pytorch.plugins": "ClusterEnvironment MixedPrecisionPlugin PrecisionPlugin",
    "lightning.pytorch.plugins.precision": "MixedPrecisionPlugin PrecisionPlugin",
    _CONNECTORS: "",
    f"{_CONNECTORS}.accelerator_connector": "_AcceleratorConnector _IS_INTERACTIVE",
    f"{_CONNECTORS}.callback_connector": "_CallbackConnector",
    f"{_CONNECTORS}.data_connector": "_DataConnector",
    f"{_CONNECTORS}.logger_connector": "",
    f"{_CONNECTORS}.logger_connector.result": "_OUT_DICT _PBAR_DICT",
    "lightning.pytorch.utilities": "FLOAT16_EPSILON FLOAT32_EPSILON FLOAT64_EPSILON",
    "lightning.pytorch.utilities.exceptions": "_TunerExitException",
    "lightning.pytorch.utilities.imports": _FLAGS,
    "lightning.pytorch.utilities.parsing": "collect_init_args get_init_args",
    "lightning.pytorch.utilities.signature_utils": "is_param_in_hook_signature",
    "lightning.pytorch.utilities.types": "_EVALUATE_OUTPUT _PREDICT_OUTPUT",
}
INTERNALS: Final[dict[str, frozenset[str]]] = {module: frozenset(found.split()) for module, found in _FOUND.items()}
"""Names by module."""

_HOMES: Final[dict[str, str | None]] = {
    "BoringDataModuleNoLen": "user.demos",
    "ClusterEnvironment": "distributed.cluster",
    "CustomProgress": None,
    "MetricsTextColumn": None,
    "MixedPrecisionPlugin": "precision:MixedPrecision",
    "PrecisionPlugin": "precision:Precision",
    "RandomIterableDatasetWithLen": "user.demos",
    "STRATEGY_REGISTRY": "compat.registries:StrategyRegistry",
    "_CallbackConnector": "compat.internals:CallbackConnector",
    "_DataConnector": "compat.internals:DataConnector",
    "_EvaluationLoop": "trainer.shown_loops:ShownEvaluationLoop",
    "_FitLoop": "trainer.shown_loops:ShownFitLoop",
    "_PredictionLoop": "trainer.shown_loops:ShownEvaluationLoop",
    "_TrainingEpochLoop": "trainer.shown_loops:ShownEpochLoop",
    "_FabricDataLoader": "fabric.wrappers:FabricDataLoader",
    "_FabricModule": "fabric.wrappers:FabricModule",
    "_FabricOptimizer": "fabric.wrappers:FabricOptimizer",
    **dict.fromkeys(_FLAGS.split(), "compat.installed"),
    **dict.fromkeys(_FILES.split(), "compat.internal_files"),
    **dict.fromkeys(_ARGUMENTS.split(), "compat.internal_arguments"),
    **dict.fromkeys(_DEVICES.split(), "compat.internal_devices"),
    **dict.fromkeys(_OF_FABRIC.split(), "compat.internal_fabric"),
}


def home(module: str, name: str) -> str | None:
    """Where a name of ``INTERNALS`` lives in our package, as ``module:name``; None where it does not."""
    found = _HOMES.get(name, "compat.internals")
    return found if found is None or ":" in found else f"{found}:{name}"
