"""Another number of batches per optimizer step from some epoch on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from thunderhead.exceptions import MisconfigurationException
from thunderhead.user.callback import Callback

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class GradientAccumulationScheduler(Callback):
    """Sets ``trainer.accumulate_grad_batches`` at the start of each epoch; 1 again once training is over.

    Args:
        scheduling: factor by epoch from which it holds; epochs count from 0, before the first one the factor is 1.

    Raises:
        TypeError: there is no entry.
        MisconfigurationException: that is no dict, an epoch no integer of at least 0, or a factor none of at least 1.
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        if not isinstance(scheduling, Mapping):
            raise MisconfigurationException(
                f"GradientAccumulationScheduler(scheduling={scheduling!r}) must be a dict {{epoch: factor}}"
            )
        if not scheduling:
            raise TypeError("GradientAccumulationScheduler(scheduling={}) says nothing; write {epoch: factor}")
        for epoch, factor in scheduling.items():
            for what, value, least in (("epoch", epoch, 0), ("factor", factor, 1)):
                if isinstance(value, bool) or not isinstance(value, int) or value < least:
                    raise MisconfigurationException(
                        f"GradientAccumulationScheduler(scheduling={dict(scheduling)}): {what} {value!r} must be an "
                        f"integer of at least {least}"
                    )
        self.scheduling = {0: 1, **scheduling}
        self.epochs = sorted(self.scheduling)
        self._factor = 1

    def going_to_accumulate_grad_batches(self) -> bool:
        """Whether there is ever more than one batch per step."""
        return any(factor > 1 for factor in self.scheduling.values())

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """The factor in ``epoch``."""
        return self.scheduling[max(start for start in self.epochs if start <= epoch)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be scheduled; a run that resumes inside an epoch gets no start of it.

        Raises:
            RuntimeError: the module uses manual optimisation.
            ValueError: the Trainer has a factor of its own.
        """
        if not pl_module.automatic_optimization:
            raise RuntimeError(
                f"GradientAccumulationScheduler with {type(pl_module).__name__}, which uses manual optimisation; "
                "step the optimizer every so many batches in training_step"
            )
        # A run that was interrupted left the factor of its epoch, which whoever saves after an exception still needs.
        if trainer.accumulate_grad_batches not in (1, self._factor):
            raise ValueError(
                f"accumulate_grad_batches={trainer.accumulate_grad_batches} and GradientAccumulationScheduler both "
                "set the factor; drop one"
            )
        self._set(trainer, self.get_accumulate_grad_batches(trainer.current_epoch))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch's factor."""
        self._set(trainer, self.get_accumulate_grad_batches(trainer.current_epoch))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The next fit begins with the Trainer's own."""
        self._set(trainer, 1)

    def _set(self, trainer: Trainer, factor: int) -> None:
        trainer.accumulate_grad_batches = self._factor = factor
