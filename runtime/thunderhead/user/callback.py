"""The base of all callbacks: every moment of a run, each doing nothing until overridden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from thunderhead.dead_overrides import TellsDeadOverrides

if TYPE_CHECKING:
    from thunderhead.core.hooks import StepOutput
    from thunderhead.files.writable import Destination
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class Callback(TellsDeadOverrides):
    """Code that runs at moments of a run, kept apart from the module.

    Override what you need; hooks left alone are never called. ``state_dict`` and ``load_state_dict`` keep its state in
    checkpoints under ``state_key``.

    Attributes:
        inactive_hooks: hooks that this instance overrides but has no use for as it is configured.
        acts_last: at the end of an epoch it is called after the other callbacks and the module, since it acts on what
            they logged, as those do that save or watch a metric.
        acts_last_in_batches: at the end of a batch, too: what it changed is complete once the module has had its say.
    """

    _declares_hooks = True
    inactive_hooks: frozenset[str] = frozenset()
    acts_last: bool = False
    acts_last_in_batches: bool = False

    @property
    def state_key(self) -> str:
        """Key of this callback's state in a checkpoint; two callbacks of one run must differ in it."""
        return type(self).__qualname__

    def _generate_state_key(self, **arguments: object) -> str:
        """A key that tells instances of one class apart by their arguments."""
        return f"{type(self).__qualname__}{arguments!r}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A run begins; ``stage`` is fit, validate, test or predict."""

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The run has ended, however it did."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fit begins; everything is set up."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fit has ended."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The sanity check begins."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The sanity check has ended."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training begins."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training has ended."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch begins."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch has ended."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """A training batch begins."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: Any, batch_idx: int
    ) -> None:
        """A training batch has ended; ``outputs["loss"]`` is divided by the accumulation factor."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation run begins."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A validation run has ended; its metrics are known."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The batches of a validation run begin."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The batches of a validation run have ended."""

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A validation batch begins."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A validation batch has ended."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A test run begins."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A test run has ended; its metrics are known."""

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The batches of a test run begin."""

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The batches of a test run have ended."""

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A test batch begins."""

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: StepOutput,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A test batch has ended."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A prediction run begins."""

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A prediction run has ended."""

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The batches of a prediction run begin."""

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The batches of a prediction run have ended."""

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A prediction batch begins."""

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A prediction batch has ended."""

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Gradients are about to be cleared."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """The backward pass begins."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The backward pass has ended."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """The optimizer is about to step."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The run ended with ``exception``."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint before it is written."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read from a checkpoint before the state is restored."""

    def state_dict(self) -> dict[str, Any]:
        """State to keep in checkpoints; nothing when empty."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""


class Checkpoint(Callback):
    """Base of callbacks that save; the trainer calls them after all others."""

    acts_last = True
    acts_last_in_batches = True

    def weights_changed(self) -> None:
        """Something else than a step has changed the weights: what was saved after this step is not what there is."""

    def _destination(self, trainer: Trainer) -> Destination | None:
        """Where a fit will write files, if it will; asked before it begins."""
        return None
