"""Taking a module out of Python."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

import torch

from thunderhead.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

    from thunderhead.core.steps import Steps


class Export:
    """What a module is exported with; mixed into :class:`thunderhead.LightningModule`."""

    def to_onnx(
        self, file_path: str | os.PathLike[str] | BinaryIO | None = None, input_sample: object = None, **kwargs: Any
    ) -> ONNXProgram | None:
        """Export by ``torch.onnx.export``, in evaluation mode and without gradients; the module's mode comes back.

        Args:
            file_path: path, or a binary stream; None to write no file.
            input_sample: input of ``forward`` to trace with; ``example_input_array`` by default. It passes through the
                module's transfer hooks, to the module's device.
            **kwargs: passed to ``torch.onnx.export`` (``dynamo``, ``opset_version``, ...).

        Returns:
            What ``torch.onnx.export`` returns.

        Raises:
            ModuleNotFoundError: the package onnx is not installed.
            ValueError: there is no input.
        """
        module = cast("Steps", self)
        if importlib.util.find_spec("onnx") is None:
            raise ModuleNotFoundError(
                f"{type(self).__name__}.to_onnx needs the package onnx (and onnxscript unless dynamo=False); install "
                "it, or use torch.export"
            )
        sample = getattr(module, "example_input_array", None) if input_sample is None else input_sample
        if sample is None:
            raise ValueError(
                f"{type(self).__name__}.to_onnx has no input to trace with; pass input_sample, or set "
                "self.example_input_array"
            )
        sample = module.on_before_batch_transfer(sample, 0)
        sample = module.on_after_batch_transfer(module.transfer_batch_to_device(sample, module.device, 0), 0)
        path = os.fspath(file_path) if isinstance(file_path, os.PathLike) else file_path
        training = module.training
        module.eval()
        try:
            with torch.no_grad():
                return torch.onnx.export(module, sample, path, **kwargs)  # type: ignore[arg-type]  # a stream too
        finally:
            module.train(training)

    def to_torchscript(self, *args: object, **kwargs: object) -> NoReturn:
        """Not there: TorchScript is deprecated in torch.

        Args:
            *args: not looked at.
            **kwargs: not looked at.

        Raises:
            MisconfigurationException: always; it names ``torch.export``.
        """
        raise _refused(
            self, "to_torchscript", "TorchScript is deprecated in torch; use torch.export.export(module, args)"
        )

    def to_tensorrt(self, *args: object, **kwargs: object) -> NoReturn:
        """Not there: torch_tensorrt takes the module as it is.

        Args:
            *args: not looked at.
            **kwargs: not looked at.

        Raises:
            MisconfigurationException: always; it names ``torch_tensorrt.compile``.
        """
        raise _refused(self, "to_tensorrt", "call torch_tensorrt.compile(module, ir='dynamo', inputs=...) yourself")


def _refused(module: object, name: str, instead: str) -> MisconfigurationException:
    return MisconfigurationException(f"{type(module).__name__}.{name} is not supported: {instead}")
