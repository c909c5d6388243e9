"""A search for the learning rate when a fit begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from thunderhead.arguments import one_of, real_number, switch, text, whole_number
from thunderhead.callbacks.lr_search import MODES, LRFinder, search, set_rate
from thunderhead.callbacks.spread import refuse_spread
from thunderhead.core.ending import EndsWell
from thunderhead.core.fields import Field, has_field
from thunderhead.exceptions import MisconfigurationException, NoSuchField
from thunderhead.user.callback import Callback
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_NAMES: Final = ("lr", "learning_rate")


class LearningRateFinder(Callback):
    """Tries growing rates before the first step, and goes on with the best, by the slope of the loss.

    A run that is resumed goes on with what was found. Derive from it to search at other moments: ``lr_find`` may be
    called from ``on_train_epoch_start``.

    Args:
        min_lr: the first rate.
        max_lr: the last.
        num_training_steps: how many.
        mode: ``exponential`` or ``linear``.
        early_stop_threshold: end when the loss is so many times the best; None for never.
        update_attr: go on with what was found.
        attr_name: where the module keeps its rate; ``lr`` or ``learning_rate`` by default.

    Attributes:
        optimal_lr: what was found; None before.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        name = "learning rate search"
        self._mode = one_of(f"{name}: mode", str(mode).lower(), MODES)
        self._min_lr = real_number(f"{name}: min_lr", min_lr, least=0.0)
        self._max_lr = real_number(f"{name}: max_lr", max_lr, least=0.0)
        if self._min_lr >= self._max_lr or (self._mode == "exponential" and not self._min_lr):
            raise MisconfigurationException(f"{name}: min_lr={min_lr!r} must be above 0 and below max_lr={max_lr!r}")
        self._num_training_steps = whole_number(f"{name}: num_training", num_training_steps, least=1)
        self._early_stop_threshold = real_number(
            f"{name}: early_stop_threshold", early_stop_threshold, least=0.0, optional=True
        )
        self._update_attr = switch(f"{name}: update_attr", update_attr)
        self._attr_name = text(f"{name}: attr_name", attr_name)
        self.optimal_lr: LRFinder | None = None
        self.ends_run = False
        self._restored = False

    def lr_find(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search now.

        Raises:
            NoSuchField: the module has no rate to update.
            MisconfigurationException: there are several optimizers.
        """
        if trainer.fast_dev_run:
            warn("the learning rate search is left out under fast_dev_run")
        else:
            field = self._field(trainer, pl_module) if self._update_attr else None
            found = LRFinder(self._mode, self._min_lr, self._max_lr, self._num_training_steps)
            search(trainer, found, self._early_stop_threshold)
            self.optimal_lr = found
            rate = found.suggestion() if field is not None else None
            if field is not None and rate is not None:
                field.set(rate)
                set_rate(trainer, rate)
                say(f"the learning rate search sets {field.name} to {rate:.4g}")
        if self.ends_run:
            raise EndsWell

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """What is restored from here on is of this run."""
        self._restored = False
        refuse_spread(self, trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Search, unless a checkpoint holds what was found."""
        restored, self._restored = self._restored, False
        if not restored or self.optimal_lr is None:
            self.lr_find(trainer, pl_module)
        elif self._update_attr and (rate := self.optimal_lr.suggestion()) is not None:
            # Optimizers get their rates from the checkpoint.
            self._field(trainer, pl_module).set(rate)

    def state_dict(self) -> dict[str, Any]:
        """What was found."""
        found = self.optimal_lr
        if found is None:
            return {}
        told = {name: getattr(found, name) for name in ("mode", "lr_min", "lr_max", "num_training")}
        return {**told, **found.results}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        found = LRFinder(*(state_dict[name] for name in ("mode", "lr_min", "lr_max", "num_training")))
        found.results = {name: list(state_dict[name]) for name in ("lr", "loss")}
        self.optimal_lr, self._restored = found, True

    def _field(self, trainer: Trainer, pl_module: LightningModule) -> Field:
        owners = (pl_module, trainer.datamodule)
        if self._attr_name:
            return Field(self._attr_name, *owners)
        for name in _NAMES:
            if has_field(name, *owners):
                return Field(name, *owners)
        raise NoSuchField(
            f"the learning rate search found neither 'lr' nor 'learning_rate' in {type(pl_module).__name__} or its "
            "hyperparameters; pass attr_name, or update_attr=False to only look at the results"
        )
