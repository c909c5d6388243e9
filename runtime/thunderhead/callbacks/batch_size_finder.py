"""A search for the largest batch size that fits into memory."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from thunderhead.arguments import one_of, real_number, text, whole_number
from thunderhead.callbacks.batch_size_search import MODES, Wanted, largest
from thunderhead.compat.internal_devices import garbage_collection_cuda, is_oom_error
from thunderhead.core.ending import EndsWell
from thunderhead.core.fields import Field
from thunderhead.core.state import TrainerFn
from thunderhead.data.combined import CombinedLoader
from thunderhead.exceptions import MisconfigurationException
from thunderhead.trainer.inside import evaluate_inside, fit_inside
from thunderhead.user.callback import Callback
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_LIMITS = {TrainerFn.VALIDATING: "val", TrainerFn.TESTING: "test", TrainerFn.PREDICTING: "predict"}


class BatchSizeFinder(Callback):
    """Tries growing batch sizes before a run begins, and goes on with the largest that fits.

    ``train_dataloader``, or that of the evaluation, reads the size from an attribute of module or datamodule. A run
    that is resumed goes on with what was found.

    Args:
        mode: ``power`` doubles until one does not fit; ``binsearch`` then closes in between.
        steps_per_trial: steps, or evaluation batches, of each trial.
        init_val: size to begin with.
        max_trials: how many to try at most.
        batch_arg_name: where module, datamodule or their hyperparameters keep it.
        margin: by which share to stay below what was found, in ``binsearch``.
        max_val: size to try at most.

    Attributes:
        optimal_batch_size: what was found, or ``init_val`` before.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        name = "batch size search"
        if not 0 <= real_number(f"{name}: margin", margin) < 1:
            raise MisconfigurationException(f"{name}: margin={margin!r} must be a share from 0 to below 1")
        self._wanted = Wanted(
            mode=one_of(f"{name}: mode", str(mode).lower(), MODES),
            first=whole_number(f"{name}: init_val", init_val, least=1),
            trials=whole_number(f"{name}: max_trials", max_trials, least=1),
            most=whole_number(f"{name}: max_val", max_val, least=1),
            margin=float(margin),
        )
        self._steps_per_trial = whole_number(f"{name}: steps_per_trial", steps_per_trial, least=1)
        self._batch_arg_name = text(f"{name}: batch_arg_name", batch_arg_name)
        self.optimal_batch_size: int | None = self._wanted.first
        self.ends_run = False
        self._restored = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot be searched.

        Raises:
            MisconfigurationException: there are several ranks, loaders were passed as they are, or there is no such
                attribute.
        """
        if trainer.world_size > 1:
            raise MisconfigurationException(
                f"the batch size search runs on one rank, and there are {trainer.world_size}: ranks that run out of "
                "memory alone leave the others waiting. Search with devices=1 and pass what was found"
            )
        if not trainer.asks_for_loaders:
            raise MisconfigurationException(
                f"the batch size search makes loaders anew for each size, but Trainer.{stage} was passed some; return "
                f"them from a method of module or datamodule that reads self.{self._batch_arg_name}"
            )
        Field(self._batch_arg_name, pl_module, trainer.datamodule)
        self._restored = False

    def scale_batch_size(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search now.

        Raises:
            MisconfigurationException: not even one sample fits, or there are several evaluation loaders.
        """
        field = Field(self._batch_arg_name, pl_module, trainer.datamodule)
        if trainer.fast_dev_run:
            warn("the batch size search is left out under fast_dev_run")
            self.optimal_batch_size = None
        else:
            before = field.get()
            try:
                self.optimal_batch_size = largest(self._wanted, partial(self._fits, trainer))
            except BaseException:
                field.set(before)
                raise
            self._take(trainer, field)
            say(f"the batch size search sets {field.name} to {self.optimal_batch_size}")
        if self.ends_run:
            raise EndsWell

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, unless a checkpoint holds what was found."""
        restored, self._restored = self._restored, False
        if restored:
            self._take(trainer, Field(self._batch_arg_name, pl_module, trainer.datamodule))
        else:
            self.scale_batch_size(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search before ``Trainer.validate``."""
        if trainer.state.fn is TrainerFn.VALIDATING:
            self.scale_batch_size(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search before ``Trainer.test``."""
        self.scale_batch_size(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search before ``Trainer.predict``."""
        self.scale_batch_size(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What was found."""
        return {"optimal_batch_size": self.optimal_batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.optimal_batch_size = state_dict["optimal_batch_size"]
        self._restored = self.optimal_batch_size is not None

    def _take(self, trainer: Trainer, field: Field) -> None:
        field.set(self.optimal_batch_size)
        trainer.forget_loaders()

    def _fits(self, trainer: Trainer, size: int) -> float | None:
        try:
            return self._try(trainer, size)
        except (RuntimeError, MemoryError) as error:
            if not is_oom_error(error):
                raise
        finally:
            garbage_collection_cuda()
        return None

    def _try(self, trainer: Trainer, size: int) -> float:
        fn, steps = trainer.state.fn, self._steps_per_trial
        if fn is TrainerFn.FITTING:
            most = trainer.global_step + steps
            changes: dict[str, Any] = {"max_steps": most, "max_epochs": -1, "min_epochs": 0, "min_steps": None}
            with fit_inside(trainer, parked=True, **changes) as loop:
                Field(self._batch_arg_name, trainer.lightning_module, trainer.datamodule).set(size)
                loop.run()
                return _samples(trainer.train_dataloader)
        assert fn is not None
        limit: Any = {f"limit_{_LIMITS[fn]}_batches": steps}
        with evaluate_inside(trainer, **limit) as evaluation:
            Field(self._batch_arg_name, trainer.lightning_module, trainer.datamodule).set(size)
            evaluation.run()
            shown = getattr(trainer, f"{_LIMITS[fn]}_dataloaders")
            if isinstance(shown, (list, tuple, dict)) and len(shown) > 1:
                raise MisconfigurationException(
                    f"the batch size search runs with one loader, and there are {len(shown)} to {fn}; search with one"
                )
            return _samples(shown)


def _samples(loaders: Any) -> float:
    """How many samples the largest dataset has; infinite where one does not tell."""
    found: list[Any] = [getattr(loader, "dataset", None) for loader in CombinedLoader(loaders).flattened]
    return max((len(data) if hasattr(data, "__len__") else math.inf for data in found), default=math.inf)
