"""The hooks a module and a datamodule may override; every one does nothing until it is.

The trainer looks once per stage which of them are overridden and never calls the others, so an empty hook costs
nothing. Their order is written down in ``thunderhead.trainer.entry_point``, and within the loop in
``thunderhead.loops.fit``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from thunderhead.exceptions import MisconfigurationException

# What a step may return: the loss, a dict with it, or nothing.
StepOutput = Tensor | Mapping[str, Any] | None


class ModuleHooks:
    """Moments of a run, seen by the module."""

    def on_fit_start(self) -> None:
        """Once per ``fit``, after everything is set up and restored."""

    def on_fit_end(self) -> None:
        """Once per ``fit``, after training has been torn down."""

    def on_train_start(self) -> None:
        """Before the first epoch, after the sanity check."""

    def on_train_end(self) -> None:
        """After the last epoch."""

    def on_validation_start(self) -> None:
        """Before a validation run."""

    def on_validation_end(self) -> None:
        """After a validation run, when its metrics are known."""

    def on_test_start(self) -> None:
        """Before a test run."""

    def on_test_end(self) -> None:
        """After a test run, when its metrics are known."""

    def on_predict_start(self) -> None:
        """Before a prediction run."""

    def on_predict_end(self) -> None:
        """After a prediction run."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Before a training batch is used. Return -1 to skip the rest of the epoch."""
        return None

    def on_train_batch_end(self, outputs: StepOutput, batch: Any, batch_idx: int) -> None:
        """After a training batch; ``outputs`` is ``{"loss": ..., **extras}``, or ``{}`` if the step returned None."""

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before a validation batch is used."""

    def on_validation_batch_end(self, outputs: StepOutput, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After a validation batch; ``outputs`` is what ``validation_step`` returned."""

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before a test batch is used."""

    def on_test_batch_end(self, outputs: StepOutput, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After a test batch; ``outputs`` is what ``test_step`` returned."""

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before a prediction batch is used."""

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After a prediction batch; ``outputs`` is what ``predict_step`` returned."""

    def on_validation_model_zero_grad(self) -> None:
        """Frees the gradients before validation within ``fit``."""
        self.zero_grad()  # type: ignore[attr-defined]  # mixed into torch.nn.Module

    def on_validation_model_eval(self) -> None:
        """Puts the module into evaluation mode."""
        self.eval()  # type: ignore[attr-defined]  # mixed into torch.nn.Module

    def on_validation_model_train(self) -> None:
        """Puts the module into training mode; when not overridden, each submodule gets the mode it had instead."""
        self.train()  # type: ignore[attr-defined]  # mixed into torch.nn.Module

    def on_test_model_eval(self) -> None:
        """Puts the module into evaluation mode."""
        self.eval()  # type: ignore[attr-defined]  # mixed into torch.nn.Module

    def on_test_model_train(self) -> None:
        """Puts the module into training mode; when not overridden, each submodule gets the mode it had instead."""
        self.train()  # type: ignore[attr-defined]  # mixed into torch.nn.Module

    def on_predict_model_eval(self) -> None:
        """Puts the module into evaluation mode."""
        self.eval()  # type: ignore[attr-defined]  # mixed into torch.nn.Module

    def on_predict_model_train(self) -> None:
        """Puts the module back; when not overridden, each submodule gets the mode it had."""

    def on_train_epoch_start(self) -> None:
        """Before the first batch of an epoch; not called again when a run resumes inside the epoch."""

    def on_train_epoch_end(self) -> None:
        """After the last batch of an epoch and its validation."""

    def on_validation_epoch_start(self) -> None:
        """Before the first validation batch."""

    def on_validation_epoch_end(self) -> None:
        """After the last validation batch; values logged here are part of the run's metrics."""

    def on_test_epoch_start(self) -> None:
        """Before the first test batch."""

    def on_test_epoch_end(self) -> None:
        """After the last test batch; values logged here are part of the run's metrics."""

    def on_predict_epoch_start(self) -> None:
        """Before the first prediction batch."""

    def on_predict_epoch_end(self) -> None:
        """After the last prediction batch."""

    def on_before_zero_grad(self, optimizer: Optimizer) -> None:
        """After ``training_step`` and before the gradients are cleared."""

    def on_before_backward(self, loss: Tensor) -> None:
        """Before the backward pass; ``loss`` is already divided by the accumulation factor."""

    def on_after_backward(self) -> None:
        """After the backward pass, before gradients are unscaled or clipped."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """After unscaling, before clipping and the optimizer's step."""

    def configure_sharded_model(self) -> None:
        """The old name of ``configure_model``; overridden, it is called right before it, with a warning."""

    def configure_model(self) -> None:
        """Creates large or sharded layers; called once per entry point on every rank, so it must be idempotent."""


class DataHooks:
    """Where data comes from and how it reaches the device; shared by modules and datamodules."""

    prepare_data_per_node: bool = True
    allow_zero_length_dataloader_with_multiple_devices: bool = False

    def prepare_data(self) -> None:
        """Download or preprocess; on one process per node (or one in all, if not ``prepare_data_per_node``)."""

    def setup(self, stage: str) -> None:
        """Build datasets or layers on every rank; ``stage`` is fit, validate, test or predict."""

    def teardown(self, stage: str) -> None:
        """Undo ``setup``."""

    def train_dataloader(self) -> Iterable[Any]:
        """Any iterable of batches, or a list, tuple or dict of them.

        Raises:
            MisconfigurationException: not overridden, and no loader was passed.
        """
        raise MisconfigurationException(_no_loader(self, "train", "fit"))

    def val_dataloader(self) -> Iterable[Any]:
        """One iterable of batches or several, evaluated one after the other.

        Raises:
            MisconfigurationException: not overridden, and no loader was passed.
        """
        raise MisconfigurationException(_no_loader(self, "val", "validate"))

    def test_dataloader(self) -> Iterable[Any]:
        """One iterable of batches or several, evaluated one after the other.

        Raises:
            MisconfigurationException: not overridden, and no loader was passed.
        """
        raise MisconfigurationException(_no_loader(self, "test", "test"))

    def predict_dataloader(self) -> Iterable[Any]:
        """One iterable of batches or several.

        Raises:
            MisconfigurationException: not overridden, and no loader was passed.
        """
        raise MisconfigurationException(_no_loader(self, "predict", "predict"))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves every tensor of ``batch`` to ``device``."""
        from thunderhead.tensors import move_to_device

        return move_to_device(batch, device)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Changes a batch before it is moved."""
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Changes a batch once it is on the device."""
        return batch


class CheckpointHooks:
    """What a module or datamodule adds to a checkpoint of its own."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add entries to ``checkpoint`` before it is written; in a job they must be plain data or tensors."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read back what ``on_save_checkpoint`` added."""


class CallbackLike(Protocol):
    """A callback, as far as others than hooks depend on it; see ``thunderhead.user.callback``."""

    inactive_hooks: frozenset[str]
    acts_last: bool
    acts_last_in_batches: bool

    @property
    def state_key(self) -> str:
        """Its name in files."""

    def state_dict(self) -> dict[str, Any]:
        """State to keep in checkpoints."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint."""

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Read from a checkpoint."""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The run ended with it."""


def _no_loader(owner: object, stage: str, method: str) -> str:
    return (
        f"{type(owner).__name__} has no {stage}_dataloader; define it, pass a datamodule that does, "
        f"or pass the loader to Trainer.{method}"
    )
