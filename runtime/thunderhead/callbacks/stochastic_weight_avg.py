"""Stochastic weight averaging: late in training the rate stays high, and the weights of each epoch are averaged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import SWALR, AveragedModel

from thunderhead.arguments import one_of, whole_number
from thunderhead.callbacks.spread import refuse_spread
from thunderhead.core.optimization import LRSchedulerConfig
from thunderhead.exceptions import MisconfigurationException
from thunderhead.user.callback import Callback
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_NAME: Final = "StochasticWeightAveraging"
AveragingFunction = Callable[[Tensor, Tensor, Tensor | int], Tensor]


class StochasticWeightAveraging(Callback):
    """From ``swa_epoch_start`` on, moves the rate to ``swa_lrs`` and averages the weights, once per epoch.

    torch's ``SWALR`` takes the place of the module's scheduler. When training ends, the module gets the average. Where
    it has BatchNorm, one epoch more looks at the training data without training on it, for the statistics that the
    averaged weights make.

    Args:
        swa_lrs: the rate, or one for each parameter group.
        swa_epoch_start: the first epoch of it, counted from 1, or its share of ``max_epochs``.
        annealing_epochs: how long the way to that rate takes.
        annealing_strategy: ``cos`` or ``linear``.
        avg_fn: takes the average, the weights and the number averaged so far; by default the mean.
        device: where the average is kept; None for where the module is.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """

    def __init__(
        self,
        swa_lrs: float | list[float],
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: str = "cos",
        avg_fn: AveragingFunction | None = None,
        device: torch.device | str | None = "cpu",
    ) -> None:
        self._swa_lrs = _checked_rates(swa_lrs)
        self._swa_epoch_start = _checked_start(swa_epoch_start)
        self._annealing_epochs = whole_number(f"{_NAME}: annealing_epochs", annealing_epochs, least=0)
        self._annealing_strategy = one_of(f"{_NAME}: annealing_strategy", annealing_strategy, ("cos", "linear"))
        if avg_fn is not None and not callable(avg_fn):
            raise MisconfigurationException(f"{_NAME}: avg_fn={avg_fn!r} must be a function of three arguments or None")
        self._avg_fn = avg_fn
        self._device = None if device is None else torch.device(device)
        self._start, self._end = 0, math.inf
        self._average: AveragedModel | None = None
        self._scheduler: SWALR | None = None
        self._updated_in = -1
        self._refreshing = False
        self._lengthened = False
        self._momenta: list[tuple[_BatchNorm, float | None]] = []
        self._restored: dict[str, Any] | None = None

    @property
    def n_averaged(self) -> Tensor | None:
        """How many weights the average is of; None outside of a fit."""
        return None if self._average is None else self._average.n_averaged

    @property
    def swa_start(self) -> int:
        """The first epoch whose weights are averaged, from 0; known once a fit has begun."""
        return self._start

    @property
    def swa_end(self) -> float:
        """The last one."""
        return self._end

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module that is spread over ranks."""
        if stage == "fit":
            refuse_spread(self, trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out which epochs these are, and go on from a checkpoint.

        Raises:
            MisconfigurationException: it cannot be done with these optimizers or this number of epochs.
        """
        has_statistics = any(isinstance(layer, _BatchNorm) for layer in pl_module.modules())
        _refuse(trainer, pl_module, self._swa_epoch_start, has_statistics)
        start, epochs = self._swa_epoch_start, trainer.max_epochs
        self._start = max((int(epochs * start) if isinstance(start, float) else start) - 1, 0)
        self._end = math.inf if epochs == -1 else epochs - 1
        self._scheduler, self._momenta = None, []
        device = trainer.strategy.root_device if self._device is None else self._device
        self._average = AveragedModel(pl_module, device=device, avg_fn=self._avg_fn)
        if has_statistics and epochs != -1:
            trainer.max_epochs, self._lengthened = epochs + 1, True
        restored, self._restored = self._restored, None
        if restored is None:
            self._updated_in, self._refreshing = -1, False
            return
        if restored["average_model_state"] is not None:
            self._average.module.load_state_dict(restored["average_model_state"])
        self._average.n_averaged.fill_(restored["n_averaged"])
        if restored["scheduler_state"] is not None:
            # Before schedulers take their state from the checkpoint, so that this one does.
            self._exchange_scheduler(trainer)
            assert self._scheduler is not None
            self._scheduler.load_state_dict(restored["scheduler_state"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that goes on in the midst of the epoch for statistics gets no start of it."""
        if self._refreshing:
            self._look_on(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, average, or begin to look on."""
        epoch = trainer.current_epoch
        if self._start <= epoch <= self._end:
            if self._scheduler is None:
                if epoch != self._start:
                    warn(
                        f"{_NAME} begins in epoch {epoch}, after swa_epoch_start: the checkpoint was saved without it, "
                        "so what came before is not in the average"
                    )
                self._exchange_scheduler(trainer)
            if epoch > self._updated_in:
                assert self._average is not None, "made when the fit began"
                self._average.update_parameters(pl_module)
                self._updated_in = epoch
        elif epoch == self._end + 1 and self._lengthened:
            self._transfer(pl_module)
            for layer in pl_module.modules():
                if isinstance(layer, _BatchNorm):
                    layer.reset_running_stats()
            self._refreshing = True
            self._look_on(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """There is nothing more to look at."""
        if self._refreshing:
            # Each rank has its own statistics of the last batch.
            trainer.strategy.sync_buffers(pl_module)
            self._refreshing = False
            self._train_again(trainer)
            _tell_savers(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """In the epoch for statistics too, the average may be saved."""
        if self._refreshing:
            _tell_savers(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The module gets the average, where the last epoch for it was trained."""
        # Not so where the run was ended before; and after the epoch more, the module has it already.
        if trainer.current_epoch - 1 == self._end or self._end == math.inf:
            self._transfer(pl_module)
        self._leave(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The Trainer and the module are left as they were."""
        self._leave(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The average, and where it stands."""
        if self._restored is not None:
            return self._restored
        average, scheduler = self._average, self._scheduler
        state = {
            "n_averaged": 0 if average is None else int(average.n_averaged),
            "latest_update_epoch": self._updated_in,
            "scheduler_state": None if scheduler is None else scheduler.state_dict(),
            "average_model_state": None if average is None else average.module.state_dict(),
        }
        return {**state, "refreshing": True} if self._refreshing else state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it for the moment in which there are optimizers."""
        self._restored = state_dict
        self._updated_in = state_dict["latest_update_epoch"]
        self._refreshing = state_dict.get("refreshing", False)

    def _exchange_scheduler(self, trainer: Trainer) -> None:
        optimizer = trainer.optimizers[0]
        rates = self._swa_lrs if isinstance(self._swa_lrs, list) else [self._swa_lrs] * len(optimizer.param_groups)
        if len(rates) != len(optimizer.param_groups):
            raise MisconfigurationException(
                f"{_NAME}: swa_lrs={rates} are {len(rates)}, but {type(optimizer).__name__} has "
                f"{len(optimizer.param_groups)} parameter groups; give one number, or one for each"
            )
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            group["initial_lr"] = rate
        self._scheduler = SWALR(optimizer, rates, self._annealing_epochs, self._annealing_strategy)  # type: ignore[arg-type]  # one of the two
        before = trainer.lr_scheduler_configs
        if before:
            if (before[0].interval, before[0].frequency) != ("epoch", 1):
                warn(
                    f"{_NAME} steps once per epoch: {type(before[0].scheduler).__name__}, which stepped every "
                    f"{before[0].frequency} {before[0].interval}s, no longer does"
                )
            say(f"{_NAME}: SWALR takes the place of {type(before[0].scheduler).__name__}")
        trainer.lr_scheduler_configs = [LRSchedulerConfig(self._scheduler)]

    def _transfer(self, pl_module: nn.Module) -> None:
        assert self._average is not None, "made when the fit began"
        for average, current in zip(self._average.module.parameters(), pl_module.parameters(), strict=True):
            current.detach().copy_(average.detach())

    def _look_on(self, trainer: Trainer, pl_module: nn.Module) -> None:
        """From here on statistics are the plain mean over all batches."""
        trainer.forward_only = True
        self._momenta = [(layer, layer.momentum) for layer in pl_module.modules() if isinstance(layer, _BatchNorm)]
        for layer, _ in self._momenta:
            layer.momentum = None

    def _leave(self, trainer: Trainer) -> None:
        self._train_again(trainer)
        if self._lengthened:
            trainer.max_epochs, self._lengthened = trainer.max_epochs - 1, False

    def _train_again(self, trainer: Trainer) -> None:
        for layer, momentum in self._momenta:
            layer.momentum = momentum
        self._momenta = []
        trainer.forward_only = False


def _tell_savers(trainer: Trainer) -> None:
    """No step comes after the last one, whose weights they have saved."""
    for saver in trainer.checkpoint_callbacks:
        saver.weights_changed()


def _checked_rates(rates: object) -> float | list[float]:
    if isinstance(rates, float) and rates > 0:
        return rates
    if isinstance(rates, list) and rates and all(isinstance(rate, float) and rate > 0 for rate in rates):
        return list(rates)
    raise MisconfigurationException(f"{_NAME}: swa_lrs={rates!r} must be a float above 0, or a list of such floats")


def _checked_start(start: object) -> int | float:
    whole = isinstance(start, int) and not isinstance(start, bool) and start >= 1
    share = isinstance(start, float) and 0 <= start <= 1
    if whole or share:
        return start  # type: ignore[return-value]  # looked at in both lines before
    raise MisconfigurationException(
        f"{_NAME}: swa_epoch_start={start!r} must be a number of an epoch from 1, or a share of them from 0.0 to 1.0"
    )


def _refuse(trainer: Trainer, module: LightningModule, start: float, has_statistics: bool) -> None:
    name = type(module).__name__
    if len(trainer.optimizers) != 1:
        raise MisconfigurationException(
            f"{_NAME} averages what one optimizer trains, but {name}.configure_optimizers makes "
            f"{len(trainer.optimizers)}; use WeightAveraging"
        )
    if len(trainer.lr_scheduler_configs) > 1:
        raise MisconfigurationException(
            f"{_NAME} takes the place of one scheduler, but {name}.configure_optimizers makes "
            f"{len(trainer.lr_scheduler_configs)}; use WeightAveraging"
        )
    if isinstance(start, float) and trainer.max_epochs == -1:
        raise MisconfigurationException(
            f"{_NAME}: swa_epoch_start={start} is a share of max_epochs=-1; give the number of an epoch"
        )
    if has_statistics and not module.automatic_optimization:
        raise MisconfigurationException(
            f"{_NAME} with {name}, which has BatchNorm and uses manual optimisation: statistics need an epoch without "
            "training, and only automatic optimisation can leave that out; use WeightAveraging"
        )
