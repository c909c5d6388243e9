"""LearningRateMonitor: names of the rates, when they are logged, what else it reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from trainer_models import QUIET, Net, shuffled

import thunderhead as th
from thunderhead.callbacks import LearningRateMonitor
from thunderhead.callbacks.lr_monitor import find_sources
from thunderhead.core.optimization import LRSchedulerConfig
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.table import only_when_recorded
from thunderhead.loggers import Logger


class Records(Logger):
    """Keeps what it is sent."""

    name = "records"
    version = 0

    def __init__(self) -> None:
        self.seen: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep it."""
        self.seen.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to keep."""


def fit(monitor: LearningRateMonitor, module: th.LightningModule | None = None, **options: Any) -> Records:
    """Train two epochs of five batches; what the logger got of the monitor."""
    records = Records()
    trainer = th.Trainer(
        **{**QUIET, "max_epochs": 2, "log_every_n_steps": 1, **options, "logger": records}, callbacks=[monitor]
    )
    trainer.fit(module or Net(), shuffled())
    records.seen = [(step, values) for step, values in records.seen if any("lr-" in n or n == "rate" for n in values)]
    return records


def sgd(*groups: int, **options: Any) -> torch.optim.Optimizer:
    """SGD over as many groups as arguments, each a learning rate in hundredths."""
    made = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate / 100} for rate in groups]
    return torch.optim.SGD(made, lr=0.1, **options)


def scheduled(optimizer: torch.optim.Optimizer, interval: str = "epoch", name: str | None = None) -> LRSchedulerConfig:
    """A scheduler of ``optimizer``."""
    return LRSchedulerConfig(torch.optim.lr_scheduler.StepLR(optimizer, 1), interval=interval, name=name)


def test_names() -> None:
    one, two, three = sgd(1), sgd(2, 3), torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    named = sgd(4)
    named.param_groups[0]["name"] = "head"
    found = find_sources(
        [scheduled(two, "step"), scheduled(named, name="rate")], [one, two, three, named], prefix="optim/"
    )
    assert [(source.interval, source.names) for source in found] == [
        ("step", ["optim/lr-SGD/pg1", "optim/lr-SGD/pg2"]),
        ("epoch", ["optim/rate/head"]),
        (None, ["optim/lr-SGD-1"]),
        (None, ["optim/lr-Adam"]),
    ]


def test_groups_of_one_name_are_refused() -> None:
    optimizer = sgd(1, 2)
    for group in optimizer.param_groups:
        group["name"] = "body"
    with pytest.raises(MisconfigurationException, match="several parameter groups of SGD are called 'lr-SGD/body'"):
        find_sources([], [optimizer])


@pytest.mark.parametrize(
    ("interval", "scheduler", "steps"),
    [
        ("step", "epoch", list(range(10))),
        ("epoch", "step", [0, 5]),
        (None, "step", list(range(10))),
        (None, "epoch", [0, 5]),
        (None, "none", [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]),
    ],
)
def test_when(interval: str | None, scheduler: str, steps: list[int]) -> None:
    monitor = LearningRateMonitor(interval)
    records = fit(monitor, Net(scheduler=scheduler))
    assert [step for step, _ in records.seen] == steps
    assert monitor.lrs["lr-AdamW"] == [values["lr-AdamW"] for _, values in records.seen]


def test_the_values_are_those_the_optimizer_used() -> None:
    records = fit(LearningRateMonitor("step"), Net(lr=0.1, scheduler="step"))
    assert [values["lr-AdamW"] for _, values in records.seen] == pytest.approx(
        [0.1 * 0.9 ** (n // 3) for n in range(10)]
    )


def test_only_in_steps_that_are_logged_and_once_per_step() -> None:
    records = fit(LearningRateMonitor("step"), log_every_n_steps=2, accumulate_grad_batches=2, max_epochs=4)
    assert [step for step, _ in records.seen] == [1, 3, 5, 7, 9, 11]


class Counting(LearningRateMonitor):
    """Has a hook of its own, which is called at every batch."""

    def __init__(self) -> None:
        super().__init__("step")
        self.batches = 0

    def on_train_batch_start(self, *args: Any) -> None:
        """Count, and log as ever."""
        self.batches += 1
        super().on_train_batch_start(*args)


def test_one_that_does_more_is_called_at_every_batch() -> None:
    monitor = Counting()
    log = fit(monitor, max_steps=6, log_every_n_steps=3)
    assert monitor.batches == 6
    assert [step for step, _ in log.seen] == [2, 5]


def test_between_records_it_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    original = LearningRateMonitor.on_train_batch_start

    def counted(self: LearningRateMonitor, trainer: th.Trainer, *args: Any) -> None:
        called.append(trainer.global_step)
        original(self, trainer, *args)

    monkeypatch.setattr(LearningRateMonitor, "on_train_batch_start", only_when_recorded(counted))
    fit(LearningRateMonitor("step"), max_steps=6, log_every_n_steps=3)
    assert called == [2, 5]


def test_momentum_and_weight_decay() -> None:
    monitor = LearningRateMonitor("epoch", log_momentum=True, log_weight_decay=True)
    values = fit(monitor).seen[0][1]
    assert values == {"lr-AdamW": 0.05, "lr-AdamW-momentum": 0.9, "lr-AdamW-weight_decay": 0.01}
    assert monitor.last_momentum_values == {"lr-AdamW-momentum": 0.9}
    assert monitor.last_weight_decay_values == {"lr-AdamW-weight_decay": 0.01}


def test_an_optimizer_without_momentum_is_logged_as_zero() -> None:
    class Plain(Net):
        def configure_optimizers(self) -> Any:
            return torch.optim.Adagrad(self.parameters(), lr=0.1)

    with pytest.warns(RuntimeWarning, match="some optimizers have no momentum"):
        records = fit(LearningRateMonitor("epoch", log_momentum=True), Plain())
    assert records.seen[0][1] == {"lr-Adagrad": 0.1, "lr-Adagrad-momentum": 0.0}


def test_a_group_added_in_training_renames_the_first() -> None:
    class Growing(Net):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 1:
                self.late = nn.Linear(1, 1)
                self.optimizers().add_param_group({"params": self.late.parameters(), "lr": 0.5})

    monitor = LearningRateMonitor("step")
    fit(monitor, Growing(scheduler="none"))
    assert monitor.lrs == {"lr-AdamW/pg1": [0.05] * 10, "lr-AdamW/pg2": [0.5] * 5}


def test_callbacks_see_the_rate() -> None:
    class Reader(th.Callback):
        def on_train_epoch_end(self, trainer: th.Trainer, pl_module: th.LightningModule) -> None:
            self.rate = trainer.callback_metrics["lr-AdamW"].item()

    reader = Reader()
    options = {**QUIET, "max_epochs": 1, "logger": Records(), "log_every_n_steps": 1}
    th.Trainer(**options, callbacks=[LearningRateMonitor("epoch"), reader]).fit(Net(), shuffled())
    assert reader.rate == pytest.approx(0.05)


def test_refusals() -> None:
    with pytest.raises(MisconfigurationException, match="logging_interval='batch'"):
        LearningRateMonitor("batch")
    with pytest.raises(MisconfigurationException, match="LearningRateMonitor has no logger"):
        th.Trainer(**QUIET, max_epochs=1, callbacks=[LearningRateMonitor()]).fit(Net(), shuffled())


def test_no_logger_is_needed_in_a_trial_run() -> None:
    th.Trainer(**{**QUIET, "fast_dev_run": True}, callbacks=[LearningRateMonitor()]).fit(Net(), shuffled())
