"""Taking a module out of Python."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

import torch

from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.schemes import place_of
from thunderhead.warning import warn_once

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
        sample = _on_device(module, input_sample, "to_onnx", "input_sample")
        path = os.fspath(file_path) if isinstance(file_path, os.PathLike) else file_path
        with _in_evaluation_mode(module):
            return torch.onnx.export(module, sample, path, **kwargs)  # type: ignore[arg-type]  # a stream too

    def to_torchscript(
        self,
        file_path: str | os.PathLike[str] | None = None,
        method: str = "script",
        example_inputs: object = None,
        **kwargs: Any,
    ) -> torch.jit.ScriptModule:
        """Compile by TorchScript, which is deprecated, in evaluation mode; the module's mode comes back.

        Args:
            file_path: where to write it as well: a path or URL.
            method: script (from the code of ``forward``), or trace (from what it does with one input).
            example_inputs: to trace with; ``example_input_array`` by default. They pass through the module's transfer
                hooks, to the module's device.
            **kwargs: passed to ``torch.jit.script`` or ``torch.jit.trace``.

        Returns:
            The compiled module.

        Raises:
            MisconfigurationException: no such method, or no input to trace with.
        """
        module = cast("Steps", self)
        if method not in ("script", "trace"):
            raise MisconfigurationException(
                f"{type(self).__name__}.to_torchscript(method={method!r}): there are 'script' and 'trace'"
            )
        warn_once(
            f"{type(self).__name__}.to_torchscript: torch has deprecated TorchScript; its successor is "
            "torch.export.export(module, args)"
        )
        with _in_evaluation_mode(module), _without_its_deprecation():
            if method == "script":
                made = torch.jit.script(module, **kwargs)
            else:
                inputs = _on_device(module, example_inputs, "to_torchscript(method='trace')", "example_inputs")
                made = torch.jit.trace(module, inputs, **kwargs)  # type: ignore[no-untyped-call]  # torch's
            if file_path is not None:
                path = os.fspath(file_path)
                place_of(path).write(path, lambda stream: torch.jit.save(made, stream))
        return cast("torch.jit.ScriptModule", made)

    def to_tensorrt(self, *args: object, **kwargs: object) -> NoReturn:
        """Not there: torch_tensorrt takes the module as it is.

        Args:
            *args: not looked at.
            **kwargs: not looked at.

        Raises:
            MisconfigurationException: always; it names ``torch_tensorrt.compile``.
        """
        raise _refused(self, "to_tensorrt", "call torch_tensorrt.compile(module, ir='dynamo', inputs=...) yourself")


@contextmanager
def _in_evaluation_mode(module: Steps) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


@contextmanager
def _without_its_deprecation() -> Iterator[None]:
    """We have said it in our words."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r".*torch\.jit\..* is (deprecated|not supported)", category=DeprecationWarning
        )
        yield


def _on_device(module: Steps, given: object, method: str, argument: str) -> Any:
    """An input as a batch's, on the module's device."""
    sample = getattr(module, "example_input_array", None) if given is None else given
    if sample is None:
        raise MisconfigurationException(
            f"{type(module).__name__}.{method} has no input to trace with; pass {argument}, or set "
            "self.example_input_array"
        )
    sample = module.on_before_batch_transfer(sample, 0)
    return module.on_after_batch_transfer(module.transfer_batch_to_device(sample, module.device, 0), 0)


def _refused(module: object, name: str, instead: str) -> MisconfigurationException:
    return MisconfigurationException(f"{type(module).__name__}.{name} is not supported: {instead}")
