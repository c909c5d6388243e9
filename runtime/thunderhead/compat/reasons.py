"""Why names of Lightning's have no counterpart, and what to use instead."""

from __future__ import annotations

from typing import Final

_LATER: Final = "it is not there yet"
_FSDP2: Final = "use FSDPStrategy, or shard in configure_model under ModelParallelStrategy"
_COLLECTIVES: Final = "use torch.distributed, or Fabric's all_gather, all_reduce, broadcast and barrier"
_NO_XLA: Final = "torch_xla has ended; train with accelerator='tpu', by the package torch-tpu"
_REASONS: Final[dict[str, str]] = {
    "DeepSpeedStrategy": _FSDP2,
    "DeepSpeedPrecision": "DeepSpeed is not supported; pass precision='bf16-mixed'",
    "DeepSpeedSummary": "DeepSpeed is not supported; use ModelSummary",
    "FSDPPrecision": "pass precision='bf16-true' or 'bf16-mixed'",
    "DataParallelStrategy": "use strategy='ddp'",
    "CometLogger": "use TensorBoardLogger or CSVLogger, or derive one from Logger",
    "LitLogger": "use TensorBoardLogger or CSVLogger, or derive one from Logger",
    "NeptuneLogger": "Lightning has removed it as well; use TensorBoardLogger, or derive one from Logger",
    "SpikeDetection": "use the callback lightning.pytorch.callbacks.SpikeDetection",
    **dict.fromkeys(("Collective", "SingleDeviceCollective", "TorchCollective"), _COLLECTIVES),
    **dict.fromkeys(("ServableModule", "ServableModuleValidator"), "export with to_onnx, and serve what that wrote"),
    "DeepSpeedLayerSummary": "DeepSpeed is not supported; use ModelSummary",
    "UnrepeatedDistributedSampler": "evaluation and prediction read every sample once; leave the sampler out",
    "convert_zero_checkpoint_to_fp32_state_dict": "DeepSpeed is not supported; use FSDPStrategy",
    **dict.fromkeys(("from_compiled", "to_uncompiled"), "pass what torch.compile returned to the Trainer as it is"),
    "BitsandbytesPrecision": "quantise in configure_model",
    "TransformerEnginePrecision": "pass precision='bf16-mixed', with its layers and autocast inside the module",
    **dict.fromkeys(
        (
            "XLAAccelerator",
            "XLACheckpointIO",
            "XLAEnvironment",
            "XLAFSDPStrategy",
            "XLAPrecision",
            "XLAProfiler",
            "XLAStrategy",
            "SingleDeviceXLAStrategy",
        ),
        _NO_XLA,
    ),
    **dict.fromkeys(("MNIST", "MNISTDataModule"), "load it with torchvision.datasets.MNIST"),
    "WikiText2": "it is a download; give LightningTransformer a loader of your own text",
}


def reason(name: str) -> str:
    """Why ``name`` has no home, and what to use instead."""
    return _REASONS.get(name, _LATER)
