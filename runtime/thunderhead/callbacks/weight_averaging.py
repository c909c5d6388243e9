"""A running average of the weights beside those that are trained; validation and the end of training take it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from thunderhead.arguments import real_number, switch, whole_number
from thunderhead.callbacks.spread import refuse_spread
from thunderhead.core.hooks import StepOutput
from thunderhead.core.state import TrainerFn
from thunderhead.exceptions import MisconfigurationException, UnknownArgument, did_you_mean
from thunderhead.user.callback import Callback
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_FUNCTIONS: Final = ("avg_fn", "multi_avg_fn")
_PREFIX: Final = "module."


class WeightAveraging(Callback):
    """Averages the module's weights by torch's ``AveragedModel``; equally weighted, unless told otherwise.

    Override ``should_update`` to say after which steps or epochs. Validation inside of a fit runs with the average,
    which becomes the module's own when training ends. Checkpoints hold it under ``state_dict``, so whoever loads the
    weights gets the average, and under ``current_model_state`` what training goes on from.

    Args:
        device: where the average is kept; by default where the module is.
        use_buffers: average buffers too; else they are copied.
        **kwargs: ``avg_fn`` or ``multi_avg_fn``, as ``AveragedModel`` takes them.

    Raises:
        UnknownArgument: a keyword that ``AveragedModel`` does not know.
        MisconfigurationException: both functions were given.
    """

    def __init__(self, device: torch.device | str | int | None = None, use_buffers: bool = True, **kwargs: Any) -> None:
        name = type(self).__name__
        for key in kwargs:
            if key not in _FUNCTIONS:
                raise UnknownArgument(f"{name} has no argument {key!r}.{did_you_mean(key, _FUNCTIONS)}")
        if len({key for key, value in kwargs.items() if value is not None}) > 1:
            raise MisconfigurationException(f"{name}: avg_fn and multi_avg_fn both say how to average; pass one")
        self._device = None if device is None else torch.device(device)
        self._use_buffers = switch(f"{name}: use_buffers", use_buffers)
        self._kwargs = kwargs
        self._average_model: AveragedModel | None = None
        # What a checkpoint holds of it, until the module is on its device and the average can be made.
        self._restored: dict[str, Tensor] | None = None
        self._swapped = False
        self._latest_update_step = 0
        self._latest_update_epoch = -1

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to take the weights into the average now; by default after every step.

        Args:
            step_idx: number of the optimizer step just made, from 0; None at the end of an epoch.
            epoch_idx: number of the epoch just ended, from 0; None after a step.
        """
        return step_idx is not None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module that is spread over ranks."""
        if stage == "fit":
            refuse_spread(self, trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The module has its layers and is on its device: the average begins as a copy, or as a checkpoint has it."""
        device = trainer.strategy.root_device if self._device is None else self._device
        self._average_model = AveragedModel(pl_module, device=device, use_buffers=self._use_buffers, **self._kwargs)
        self._swapped = False
        self._latest_update_epoch = trainer.current_epoch - 1
        restored, self._restored = self._restored, None
        if restored is None:
            # What another run had come to says nothing of this one.
            self._latest_update_step = trainer.global_step
        else:
            self._average_model.load_state_dict(restored, strict=pl_module.strict_loading)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: object, batch_idx: int
    ) -> None:
        """After a step: update, if it is time."""
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self._update(pl_module)
            self._latest_update_step = step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After an epoch: update, if it is time."""
        epoch = trainer.current_epoch
        if epoch > self._latest_update_epoch and self.should_update(epoch_idx=epoch):
            self._update(pl_module)
            self._latest_update_epoch = epoch

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The average becomes the module's own."""
        for average, current in self._pairs(pl_module):
            current.copy_(average)
        # Each rank has averaged its own running statistics.
        trainer.strategy.sync_buffers(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        if trainer.state.fn is TrainerFn.FITTING:
            self._swap(pl_module)
            trainer.strategy.sync_buffers(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train on with the weights themselves."""
        if self._swapped:
            self._swap(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A validation that failed leaves the module with its own weights."""
        if self._swapped:
            self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The step of the newest update."""
        return {"latest_update_step": self._latest_update_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self._latest_update_step = state_dict["latest_update_step"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average in the place of the weights, which move to ``current_model_state``."""
        if self._average_model is None:
            say(f"{type(self).__name__} has no average outside of a fit: the checkpoint holds the module as it is")
            return
        kept = self._average_model.state_dict()
        average = {name.removeprefix(_PREFIX): value for name, value in kept.items() if name.startswith(_PREFIX)}
        current = checkpoint["state_dict"]
        # In the midst of a validation the module holds the average.
        checkpoint["state_dict"], checkpoint["current_model_state"] = (
            (current, average) if self._swapped else (average, current)
        )
        checkpoint["averaging_state"] = {k: v for k, v in kept.items() if not k.startswith(_PREFIX)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Give the module the weights to train on, and keep the average for the moment in which it can be made."""
        if trainer.state.fn is not TrainerFn.FITTING:
            return
        if "current_model_state" not in checkpoint or "averaging_state" not in checkpoint:
            warn(
                f"the checkpoint holds no average of {type(self).__name__}, which was not there when it was saved: the "
                "average begins with its weights"
            )
            return
        average = {_PREFIX + name: value for name, value in checkpoint["state_dict"].items()}
        self._restored = {**average, **checkpoint["averaging_state"]}
        pl_module.load_state_dict(checkpoint["current_model_state"], strict=pl_module.strict_loading)

    def _update(self, pl_module: LightningModule) -> None:
        assert self._average_model is not None, "made when the fit began"
        self._average_model.update_parameters(pl_module)

    def _swap(self, pl_module: LightningModule) -> None:
        for average, current in self._pairs(pl_module):
            kept = average.clone()
            average.copy_(current)
            current.copy_(kept)
        self._swapped = not self._swapped

    def _pairs(self, pl_module: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Averages beside the module's tensors, with no history."""
        assert self._average_model is not None, "made when the fit began"
        average = self._average_model.module
        both = (itertools.chain(module.parameters(), module.buffers()) for module in (average, pl_module))
        return ((one.data, other.data) for one, other in zip(*both, strict=True))


class EMAWeightAveraging(WeightAveraging):
    """Averages exponentially: after each update the average is ``decay`` × itself + (1 - ``decay``) × the weights.

    Args:
        device: see ``WeightAveraging``.
        use_buffers: see ``WeightAveraging``.
        decay: from 0 to 1.
        update_every_n_steps: steps between updates; 0 for none after steps.
        update_starting_at_step: number of the first step after which to update, from 0; by default the first.
        update_starting_at_epoch: from this epoch on, update at each one's end, too; by default never.
        **kwargs: none so far.

    Raises:
        MisconfigurationException: a number is out of range, or a function was given in the place of ``decay``.
    """

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        if given := [key for key in _FUNCTIONS if key in kwargs]:
            raise MisconfigurationException(f"{name}: {given[0]} follows from decay; use WeightAveraging to pass one")
        if real_number(f"{name}: decay", decay, least=0.0) > 1:
            raise MisconfigurationException(f"{name}: decay={decay!r} must be a number from 0 to 1")
        super().__init__(device, use_buffers, **kwargs, avg_fn=get_ema_avg_fn(decay=decay))  # type: ignore[no-untyped-call]  # torch's
        self.update_every_n_steps = whole_number(f"{name}: update_every_n_steps", update_every_n_steps, least=0)
        self.update_starting_at_step = whole_number(
            f"{name}: update_starting_at_step", update_starting_at_step, least=0, optional=True
        )
        self.update_starting_at_epoch = whole_number(
            f"{name}: update_starting_at_epoch", update_starting_at_epoch, least=0, optional=True
        )

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """See the class."""
        if step_idx is not None:
            every, start = self.update_every_n_steps, self.update_starting_at_step
            return every > 0 and step_idx % every == 0 and (start is None or step_idx >= start)
        start = self.update_starting_at_epoch
        return epoch_idx is not None and start is not None and epoch_idx >= start
