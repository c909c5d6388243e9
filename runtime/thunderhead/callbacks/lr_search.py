"""A learning rate range test: short steps at growing rates, and the loss at each of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import torch

from thunderhead.core.hooks import StepOutput
from thunderhead.exceptions import MisconfigurationException
from thunderhead.trainer.inside import fit_inside
from thunderhead.user.callback import Callback
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

MODES: Final = ("linear", "exponential")
_FORGETS: Final = 0.98


class LRFinder:
    """The rates that were tried, and the smoothed loss at each.

    Attributes:
        mode: how rates grew.
        lr_min: the first.
        lr_max: the last, if the search came so far.
        num_training: steps it was to make.
        results: lists under ``lr`` and ``loss``.
    """

    def __init__(self, mode: str, lr_min: float, lr_max: float, num_training: int) -> None:
        self.mode, self.lr_min, self.lr_max, self.num_training = mode, lr_min, lr_max, num_training
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}
        self._optimal_idx: int | None = None

    def rate(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if step == 0:
            return self.lr_min
        share = (step + 1) / self.num_training
        if self.mode == "linear":
            return self.lr_min + share * (self.lr_max - self.lr_min)
        return float(self.lr_min * (self.lr_max / self.lr_min) ** share)

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The rate at which the loss falls most steeply; None where there are too few losses to say.

        Args:
            skip_begin: how many of the first to leave out.
            skip_end: how many of the last.
        """
        stop = -skip_end if skip_end else None
        losses = torch.tensor(self.results["loss"][skip_begin:stop])
        rates = torch.tensor(self.results["lr"][skip_begin:stop])
        finite = torch.isfinite(losses)
        self._optimal_idx = None
        if int(finite.sum()) < 2:
            warn(
                f"the learning rate search has {int(finite.sum())} losses between the first {skip_begin} and the last "
                f"{skip_end}, and a suggestion needs two; raise num_training or early_stop_threshold"
            )
            return None
        (slopes,) = torch.gradient(losses[finite], spacing=(rates[finite],))
        self._optimal_idx = skip_begin + int(finite.nonzero()[int(slopes.argmin())])
        return self.results["lr"][self._optimal_idx]

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """Draw the loss over the rate.

        Args:
            suggest: mark the suggestion.
            show: show the figure.
            ax: matplotlib's axes to draw into; by default those of a new figure.

        Returns:
            The figure.

        Raises:
            MisconfigurationException: matplotlib is needed, and not installed.
        """
        pyplot = _pyplot() if ax is None or show else None
        if ax is None:
            assert pyplot is not None
            _, ax = pyplot.subplots()
        rates, losses = self.results["lr"], self.results["loss"]
        ax.plot(rates, losses)
        if self.mode == "exponential":
            ax.set_xscale("log")
        ax.set_xlabel("Learning rate")
        ax.set_ylabel("Loss")
        if suggest and self.suggestion() is not None:
            index = self._optimal_idx
            assert index is not None
            ax.plot(rates[index], losses[index], markersize=10, marker="o", color="red")
        if pyplot is not None and show:
            pyplot.show()
        return ax.figure


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as pyplot  # type: ignore[import-not-found,unused-ignore]  # optional
    except ImportError as error:
        raise MisconfigurationException(
            "LRFinder.plot draws with matplotlib, which is not installed; pip install matplotlib, or draw "
            "results['lr'] and results['loss'] with something else"
        ) from error
    return pyplot


def search(trainer: Trainer, finder: LRFinder, early_stop_threshold: float | None) -> None:
    """Fill ``finder.results`` by a fit inside of the trainer's own, which leaves no trace in it.

    On several ranks all try the same rates, and the loss is their mean.

    Raises:
        MisconfigurationException: there are several optimizers, or the module steps them itself.
    """
    if len(trainer.optimizers) != 1:
        raise MisconfigurationException(
            f"the learning rate search moves the rate of one optimizer, but configure_optimizers makes "
            f"{len(trainer.optimizers)}; search with one of them at a time"
        )
    probe = Probe(finder, early_stop_threshold)
    steps = trainer.global_step + finder.num_training
    changes: dict[str, Any] = {
        "max_steps": steps,
        "max_epochs": -1,
        "min_epochs": 0,
        "min_steps": None,
        "limit_val_batches": 0,
    }
    with fit_inside(trainer, callbacks=[probe], **changes) as loop:
        trainer.lr_scheduler_configs = []
        loop.run()
    made = len(finder.results["loss"])
    if made < finder.num_training:
        say(f"the learning rate search ended after {made} of {finder.num_training} steps, as the loss grew")


class Probe(Callback):
    """Sets the rate of each step, and keeps the loss.

    Args:
        finder: says the rates, and takes the losses.
        early_stop_threshold: end when the loss is so many times the best; None for never.
    """

    def __init__(self, finder: LRFinder, early_stop_threshold: float | None) -> None:
        self._finder, self._threshold = finder, early_stop_threshold
        self._average = self._best = 0.0
        self._begun = False
        self._before = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """A step begins, or a window of batches for one."""
        if self._begun:
            return
        self._begun, self._before = True, trainer.global_step
        rate = self._finder.rate(len(self._finder.results["lr"]))
        self._finder.results["lr"].append(rate)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: object, batch_idx: int
    ) -> None:
        """Keep the loss, once the optimizer has stepped."""
        if trainer.global_step == self._before:
            return
        self._begun = False
        losses = self._finder.results["loss"]
        loss = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else None
        if loss is None:
            losses.append(math.nan)
            return
        value = float(trainer.strategy.reduce(loss, reduce_op="mean"))
        step = len(losses) + 1
        self._average = _FORGETS * self._average + (1 - _FORGETS) * value
        smoothed = self._average / (1 - _FORGETS ** (step + 1))
        if self._threshold is not None and step > 1 and smoothed > self._threshold * self._best:
            trainer.should_stop = True
        if smoothed < self._best or step == 1:
            self._best = smoothed
        losses.append(smoothed)


def set_rate(trainer: Trainer, rate: float) -> None:
    """Let the optimizers go on with this rate; what schedulers have made of the one before they make of it, too."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            first = group.get("initial_lr")
            group["lr"] = rate if not first else rate * (group["lr"] / first)
            if first is not None:
                group["initial_lr"] = rate
    for config in trainer.lr_scheduler_configs:
        rates = getattr(config.scheduler, "base_lrs", None)
        if rates is not None:
            config.scheduler.base_lrs = [rate] * len(rates)
