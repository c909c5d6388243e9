"""A module as loops know it: its steps, its optimizers and its hooks; nothing of who runs it.

What a user's code calls in its module, ``self.log`` or ``self.trainer``, is the other face: see
``thunderhead.user.module``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thunderhead.core.hooks import CheckpointHooks, DataHooks, ModuleHooks
from thunderhead.core.hparams import HyperparametersMixin
from thunderhead.core.optimizer import LightningOptimizer
from thunderhead.exceptions import MisconfigurationException
from thunderhead.warning import warn_once


class _Also:
    """Another name of an attribute, which an instance may have for itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else getattr(instance, self._name)


class Steps(ModuleHooks, DataHooks, CheckpointHooks, HyperparametersMixin, nn.Module):
    """A network with its training, validation, test and prediction step, and its optimizers.

    Attributes:
        automatic_optimization: the loop calls backward and the optimizer; set it to False in ``__init__`` to call
            ``manual_backward`` and ``optimizer.step()`` yourself.
        strict_loading: whether a checkpoint must hold exactly this module's keys.
    """

    _device = _Also("device")
    _dtype = _Also("dtype")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._automatic_optimization = True
        self._strict_loading: bool | None = None

    @property
    def automatic_optimization(self) -> bool:
        """Whether the trainer calls backward and the optimizer."""
        return self._automatic_optimization

    @automatic_optimization.setter
    def automatic_optimization(self, value: bool) -> None:
        self._automatic_optimization = value

    @property
    def strict_loading(self) -> bool:
        """Whether a checkpoint must hold exactly this module's keys (True unless set)."""
        return True if self._strict_loading is None else self._strict_loading

    @strict_loading.setter
    def strict_loading(self, value: bool) -> None:
        self._strict_loading = value

    @property
    def device(self) -> torch.device:
        """Device of the first parameter or buffer; the CPU where there is none."""
        for parameter in self.parameters():
            return parameter.device
        for buffer in self.buffers():
            return buffer.device
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the first floating-point parameter; the default where there is none."""
        for tensor in self.parameters():
            if tensor.is_floating_point():
                return tensor.dtype
        return torch.get_default_dtype()

    def _apply_batch_transfer_handler(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        """The batch on the device, by the module's transfer hooks: for libraries that have one in hand."""
        batch = self.on_before_batch_transfer(batch, dataloader_idx)
        batch = self.transfer_batch_to_device(batch, self.device if device is None else device, dataloader_idx)
        return self.on_after_batch_transfer(batch, dataloader_idx)

    # --- steps ---------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Inference; what ``predict_step`` calls unless overridden."""
        return super().forward(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """The loss of one batch.

        Returns:
            The loss (a tensor with one element), a dict with it under ``loss``, or None to skip this batch.

        Raises:
            MisconfigurationException: not overridden.
        """
        raise MisconfigurationException(f"{type(self).__name__} has no training_step; Trainer.fit needs one")

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """One batch of validation; log what you measure. The return value reaches ``on_validation_batch_end``."""

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """One batch of testing; log what you measure. The return value reaches ``on_test_batch_end``."""

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """The prediction for one batch; by default ``self(batch)``."""
        batch = kwargs.get("batch", args[0] if args else None)
        return self(batch)

    def configure_optimizers(self) -> object:
        """An optimizer, several, with or without schedulers; see ``thunderhead.core.optimization``."""
        warn_once(f"{type(self).__name__} has no configure_optimizers; it is trained without an optimizer")
        return None

    def configure_callbacks(self) -> object:
        """Callbacks this module brings along; one of a type replaces the trainer's of the same type."""
        return []

    # --- optimisation --------------------------------------------------------------------------------------------

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Computes the gradients of ``loss``."""
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch's

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Steps the optimizer; ``optimizer_closure`` runs ``training_step`` and backward, and must be called."""
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clears the gradients before a new accumulation window."""
        optimizer.zero_grad()

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Steps a scheduler; ``metric`` is its monitored value, None unless it reduces on plateau."""
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)
