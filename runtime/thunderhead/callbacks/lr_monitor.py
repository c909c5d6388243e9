"""Learning rates of all optimizers, logged as they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from thunderhead.core.optimization import LRSchedulerConfig
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.table import only_when_recorded
from thunderhead.user.callback import Callback
from thunderhead.warning import warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class LearningRateMonitor(Callback):
    """Sends learning rates to the loggers, and to ``trainer.callback_metrics``.

    An optimizer's rate is called ``lr-Adam``, a second Adam's ``lr-Adam-1``, that of one of several parameter groups
    ``lr-Adam/pg1`` (or the group's ``name``); a scheduler's ``name`` takes the place of ``lr-Adam``.

    Args:
        logging_interval: ``step`` (each ``log_every_n_steps``) or ``epoch``; by default each scheduler's own interval.
        log_momentum: also ``<name>-momentum``: the first of ``betas``, or ``momentum``.
        log_weight_decay: also ``<name>-weight_decay``.
        log_key_prefix: put before every name as it is, for example ``"optim/"``.

    Attributes:
        lrs: every rate logged so far, by name.
        last_momentum_values: newest momentum by name.
        last_weight_decay_values: newest weight decay by name.

    Raises:
        MisconfigurationException: there is no such interval.
    """

    def __init__(
        self,
        logging_interval: str | None = None,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
        log_key_prefix: str | None = None,
    ) -> None:
        if logging_interval not in (None, "step", "epoch"):
            raise MisconfigurationException(
                f"LearningRateMonitor(logging_interval={logging_interval!r}) is none of 'step', 'epoch', None"
            )
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self.log_key_prefix = log_key_prefix or ""
        self.lrs: dict[str, list[float]] = {}
        self.last_momentum_values: dict[str, float | None] = {}
        self.last_weight_decay_values: dict[str, float | None] = {}
        self._logged_at = -1
        unused = {"epoch": "on_train_batch_start", "step": "on_train_epoch_start"}.get(logging_interval or "")
        if unused is not None:
            self.inactive_hooks = frozenset({unused})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the names; refuse what could not be logged.

        Raises:
            MisconfigurationException: there is no logger, or an optimizer has two groups of one name.
        """
        if not trainer.loggers and not trainer.fast_dev_run:
            raise MisconfigurationException(
                "LearningRateMonitor has no logger to write to; give the Trainer one, or drop the callback"
            )
        sources = find_sources(trainer.lr_scheduler_configs, trainer.optimizers, self.log_key_prefix)
        if self.log_momentum and not all({"momentum", "betas"} & set(s.optimizer.defaults) for s in sources):
            warn("log_momentum=True, but some optimizers have no momentum; theirs is logged as 0", RuntimeWarning)
        names = [name for source in sources for name in source.names]
        self.lrs = {name: [] for name in names}
        self.last_momentum_values = {f"{name}-momentum": None for name in names}
        self.last_weight_decay_values = {f"{name}-weight_decay": None for name in names}
        self._logged_at = -1

    @only_when_recorded
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Log what follows steps, in the steps in which the trainer logs."""
        step, every = trainer.logger_step, trainer.log_every_n_steps
        if self._logged_at < 0 and batch_idx % trainer.accumulate_grad_batches:
            self._logged_at = step  # by the run that this one goes on from, as the window began
        # Every batch of an accumulation window begins at the same step, which is logged once.
        if not every or step == self._logged_at or ((step + 1) % every and not trainer.should_stop):
            return
        self._logged_at = step
        self._log(trainer, "step")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what follows epochs."""
        self._log(trainer, "epoch")

    def _log(self, trainer: Trainer, interval: str) -> None:
        values: dict[str, float] = {}
        for source in find_sources(trainer.lr_scheduler_configs, trainer.optimizers, self.log_key_prefix):
            if self.logging_interval is not None or source.interval in (None, interval):
                for name, group in zip(source.names, source.optimizer.param_groups, strict=True):
                    self._read(name, group, values)
        if not values:
            return
        trainer.show_metrics({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics(dict(values), step=trainer.logger_step)

    def _read(self, name: str, group: dict[str, Any], into: dict[str, float]) -> None:
        """One group's values, read into ``into`` and kept."""
        if name not in self.lrs:
            # A group was added meanwhile: what was lr-Adam goes on as lr-Adam/pg1.
            self.lrs[name] = self.lrs.pop(name.removesuffix("/pg1"), []) if name.endswith("/pg1") else []
        into[name] = float(group["lr"])
        self.lrs[name].append(into[name])
        if self.log_momentum:
            momentum = group["betas"][0] if "betas" in group else group.get("momentum", 0)
            into[f"{name}-momentum"] = self.last_momentum_values[f"{name}-momentum"] = float(momentum)
        if self.log_weight_decay:
            decay = float(group.get("weight_decay", 0))
            into[f"{name}-weight_decay"] = self.last_weight_decay_values[f"{name}-weight_decay"] = decay


@dataclass(frozen=True, slots=True)
class RateSource:
    """An optimizer whose rates are logged.

    Attributes:
        optimizer: the optimizer.
        interval: of its scheduler, ``step`` or ``epoch``; None without one.
        names: one per parameter group.
    """

    optimizer: Optimizer
    interval: str | None
    names: list[str]


def find_sources(
    configs: Sequence[LRSchedulerConfig], optimizers: Sequence[Optimizer], prefix: str = ""
) -> list[RateSource]:
    """Where rates come from: every scheduler's optimizer, then the optimizers that have none.

    Raises:
        MisconfigurationException: two parameter groups of one optimizer have the same name.
    """
    kinds: Counter[str] = Counter()
    wanted: list[tuple[Optimizer, str | None, str | None]]
    wanted = [(config.scheduler.optimizer, config.interval, config.name) for config in configs]
    scheduled = {id(optimizer) for optimizer, _, _ in wanted}
    wanted += [(optimizer, None, None) for optimizer in optimizers if id(optimizer) not in scheduled]
    sources = []
    for optimizer, interval, given in wanted:
        name = given
        if name is None:
            name = f"lr-{type(optimizer).__name__}"
            kinds[name] += 1
            if kinds[name] > 1:
                name = f"{name}-{kinds[name] - 1}"
        sources.append(RateSource(optimizer, interval, _group_names(prefix + name, optimizer)))
    return sources


def _group_names(name: str, optimizer: Optimizer) -> list[str]:
    groups = optimizer.param_groups
    if len(groups) == 1:
        own = groups[0].get("name")
        return [f"{name}/{own}" if own else name]
    names = [f"{name}/{group.get('name', f'pg{number}')}" for number, group in enumerate(groups, start=1)]
    twice = sorted({found for found in names if names.count(found) > 1})
    if twice:
        raise MisconfigurationException(
            f"LearningRateMonitor: several parameter groups of {type(optimizer).__name__} are called {twice[0]!r}; "
            "give each a name of its own"
        )
    return names
