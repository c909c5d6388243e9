"""Base of callbacks that write what ``predict_step`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from thunderhead.arguments import one_of
from thunderhead.hooks.overriding import is_overridden
from thunderhead.loops.signature import wants_iterator
from thunderhead.user.callback import Callback
from thunderhead.warning import warn_once

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class WriteInterval(StrEnum):
    """When predictions are written."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    @property
    def on_batch(self) -> bool:
        """After each batch."""
        return self is not WriteInterval.EPOCH

    @property
    def on_epoch(self) -> bool:
        """Once all batches are done."""
        return self is not WriteInterval.BATCH


class BasePredictionWriter(Callback):
    """Derive from it, and override ``write_on_batch_end`` or ``write_on_epoch_end``, as ``write_interval`` has it.

    On several ranks each writes what it predicted; the indices say which samples these are.
    ``Trainer.predict(return_predictions=False)`` then keeps none of them longer than they are needed here.

    Args:
        write_interval: ``batch``, ``epoch`` or ``batch_and_epoch``.

    Attributes:
        interval: the same.

    Raises:
        MisconfigurationException: there is no such interval.
    """

    def __init__(self, write_interval: str = "batch") -> None:
        one_of(f"{type(self).__name__}: write_interval", write_interval, [str(known) for known in WriteInterval])
        self.interval = WriteInterval(write_interval)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See to it that what is to be written at the end is kept until then.

        Raises:
            NotImplementedError: ``predict_step`` takes its batches itself, so nobody knows what is in one; or the
                method that the interval calls is not overridden.
        """
        if stage != "predict":
            return
        if wants_iterator(pl_module.predict_step):
            raise NotImplementedError(
                f"{type(self).__name__} with {type(pl_module).__name__}.predict_step(dataloader_iter): which samples "
                "are in a batch is not known there; take batch and batch_idx instead"
            )
        # One who overrides the hook itself may need no such method.
        for hook, writes, wanted in (
            ("on_predict_batch_end", "write_on_batch_end", self.interval.on_batch),
            ("on_predict_epoch_end", "write_on_epoch_end", self.interval.on_epoch),
        ):
            if wanted and not any(is_overridden(name, self, BasePredictionWriter) for name in (hook, writes)):
                raise NotImplementedError(self._lacks(writes))
        if self.interval.on_epoch:
            trainer.keep_predictions()

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one batch.

        Args:
            trainer: that predicts.
            pl_module: with this module.
            prediction: what ``predict_step`` returned.
            batch_indices: the samples' indices in the dataset; empty where the loader does not tell.
            batch: the batch.
            batch_idx: its number.
            dataloader_idx: the loader's number.

        Raises:
            NotImplementedError: it is not overridden.
        """
        raise NotImplementedError(self._lacks("write_on_batch_end"))

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write all batches.

        Args:
            trainer: that predicts.
            pl_module: with this module.
            predictions: one entry per batch; for several loaders a list of them each.
            batch_indices: for each loader, the indices of every batch.

        Raises:
            NotImplementedError: it is not overridden.
        """
        raise NotImplementedError(self._lacks("write_on_epoch_end"))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write it, where that is what the interval says."""
        if not self.interval.on_batch:
            return
        indices = self._indices(trainer, batch_idx, dataloader_idx)
        self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write them, where that is what the interval says."""
        if not self.interval.on_epoch:
            return
        kept, several = trainer.predictions, len(trainer.num_predict_batches) > 1
        per_loader = kept if several else [kept]
        indices = [
            [found for number in range(len(of_loader)) if (found := self._indices(trainer, number, loader))]
            for loader, of_loader in enumerate(per_loader)
        ]
        self.write_on_epoch_end(trainer, pl_module, kept, indices)

    def _indices(self, trainer: Trainer, batch_idx: int, dataloader_idx: int) -> list[int]:
        found = trainer.batch_indices(batch_idx, dataloader_idx)
        if found is None:
            warn_once(
                f"{type(self).__name__} gets no batch_indices: the predict loader {dataloader_idx} has no sampler that "
                "tells which samples are in a batch; pass a DataLoader over a dataset with a length"
            )
        return found or []

    def _lacks(self, method: str) -> str:
        return (
            f"{type(self).__name__}(write_interval={str(self.interval)!r}) calls {method}, which is not overridden; "
            "override it, or pass another write_interval"
        )
