"""Searches for a learning rate and a batch size, by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from thunderhead.arguments import one_of
from thunderhead.callbacks.batch_size_finder import BatchSizeFinder
from thunderhead.callbacks.lr_finder import LearningRateFinder
from thunderhead.exceptions import MisconfigurationException, refuse_class
from thunderhead.rng import isolate_rng

if TYPE_CHECKING:
    from thunderhead.callbacks.lr_search import LRFinder
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.callback import Callback
    from thunderhead.user.datamodule import LightningDataModule
    from thunderhead.user.module import LightningModule

_METHODS: Final = ("fit", "validate", "test", "predict")


class Tuner:
    """Searches by a trainer, which is afterwards as it was before: to the bit, but for what was searched for.

    Args:
        trainer: that the run will have.
    """

    def __init__(self, trainer: Trainer) -> None:
        refuse_class(trainer, "Tuner")
        self._trainer = trainer

    def lr_find(
        self,
        model: LightningModule,
        train_dataloaders: Iterable[Any] | LightningDataModule | None = None,
        val_dataloaders: Iterable[Any] | None = None,
        dataloaders: Iterable[Any] | None = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRFinder | None:
        """Try growing learning rates.

        Args:
            model: to be trained.
            train_dataloaders: as for ``Trainer.fit``.
            val_dataloaders: as for ``Trainer.fit``; not read.
            dataloaders: not for a fit.
            datamodule: as for ``Trainer.fit``.
            method: ``fit``, and no other.
            min_lr: the first rate.
            max_lr: the last.
            num_training: how many.
            mode: ``exponential`` or ``linear``.
            early_stop_threshold: end when the loss is so many times the best; None for never.
            update_attr: set the model's rate to what is suggested.
            attr_name: where the model keeps it; ``lr`` or ``learning_rate`` by default.

        Returns:
            Rates and losses, with ``suggestion`` and ``plot``; None under ``fast_dev_run``.

        Raises:
            MisconfigurationException: an argument cannot mean anything, or there are several optimizers.
        """
        if method != "fit":
            raise MisconfigurationException(f"Tuner.lr_find(method={method!r}): rates are of training; use 'fit'")
        self._check("lr_find", LearningRateFinder, method, (train_dataloaders, val_dataloaders), dataloaders)
        finder = LearningRateFinder(
            min_lr, max_lr, num_training, mode, early_stop_threshold, update_attr=update_attr, attr_name=attr_name
        )
        with self._beside(finder):
            self._trainer.fit(model, train_dataloaders, val_dataloaders, datamodule)
        return finder.optimal_lr

    def scale_batch_size(
        self,
        model: LightningModule,
        train_dataloaders: Iterable[Any] | LightningDataModule | None = None,
        val_dataloaders: Iterable[Any] | None = None,
        dataloaders: Iterable[Any] | LightningDataModule | None = None,
        datamodule: LightningDataModule | None = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """Try growing batch sizes.

        Args:
            model: to be run; it or the datamodule gives the loaders.
            train_dataloaders: a datamodule may stand here.
            val_dataloaders: must be None.
            dataloaders: for other methods than fit: a datamodule may stand here.
            datamodule: gives the loaders.
            method: ``fit``, ``validate``, ``test`` or ``predict``.
            mode: ``power`` doubles until one does not fit; ``binsearch`` then closes in between.
            steps_per_trial: steps of each.
            init_val: size to begin with.
            max_trials: how many to try at most.
            batch_arg_name: where model or datamodule keep it.
            margin: by which share to stay below what was found, in ``binsearch``.
            max_val: size to try at most.

        Returns:
            What was found; None under ``fast_dev_run``.

        Raises:
            MisconfigurationException: an argument cannot mean anything, there are several ranks, or not even one sample
                fits.
        """
        given = (train_dataloaders, val_dataloaders)
        self._check("scale_batch_size", BatchSizeFinder, method, given, dataloaders)
        finder = BatchSizeFinder(mode, steps_per_trial, init_val, max_trials, batch_arg_name, margin, max_val)
        with self._beside(finder):
            if method == "fit":
                self._trainer.fit(model, train_dataloaders, val_dataloaders, datamodule)
            else:
                getattr(self._trainer, method)(model, dataloaders, datamodule=datamodule)
        return finder.optimal_batch_size

    @contextmanager
    def _beside(self, finder: LearningRateFinder | BatchSizeFinder) -> Iterator[None]:
        """Before all other callbacks, and the run ends with it."""
        finder.ends_run = True
        before = list(self._trainer.callbacks)
        self._trainer.callbacks = [finder, *before]
        try:
            with isolate_rng():
                yield
        finally:
            self._trainer.callbacks = before

    def _check(
        self, search: str, kind: type[Callback], method: str, of_fit: tuple[object, ...], others: object
    ) -> None:
        one_of(f"Tuner.{search}: method", method, _METHODS)
        name = f"Tuner.{search}(method={method!r})"
        if method == "fit" and others is not None:
            raise MisconfigurationException(f"{name} takes train_dataloaders or a datamodule, not dataloaders")
        if method != "fit" and any(loaders is not None for loaders in of_fit):
            raise MisconfigurationException(f"{name} takes dataloaders or a datamodule, not those of a fit")
        if any(isinstance(callback, kind) for callback in self._trainer.callbacks):
            raise MisconfigurationException(
                f"Tuner.{search}: the Trainer has a {kind.__name__} among its callbacks, which searches at each fit; "
                "drop one of them"
            )
