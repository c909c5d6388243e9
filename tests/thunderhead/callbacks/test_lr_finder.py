"""The learning rate search: its rates and losses, what it suggests, and that it leaves no trace."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, bits, in_order, shuffled
from trainer_ranks import run_ranks
from trainer_resumes import WAYS, Resumes, same

import thunderhead as th
from thunderhead.callbacks import LearningRateFinder
from thunderhead.callbacks.lr_search import LRFinder
from thunderhead.exceptions import MisconfigurationException, NoSuchField
from thunderhead.rng import capture_rng
from thunderhead.tuner import Tuner


class Traced(Net):
    """Keeps the rate of each step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rates: list[float] = []
        self.met: list[th.LightningModule] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return super().training_step(batch, batch_idx)


def trainer(*callbacks: th.Callback, **options: Any) -> th.Trainer:
    return th.Trainer(**{**QUIET, "max_epochs": 2, **options}, callbacks=list(callbacks))


def find(net: th.LightningModule, made: th.Trainer | None = None, **options: Any) -> LRFinder:
    found = Tuner(made or trainer()).lr_find(net, shuffled(), **{"num_training": 20, "update_attr": False, **options})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("mode", "rate"),
    [
        ("exponential", lambda step: 1e-3 if step == 0 else 1e-3 * (1.0 / 1e-3) ** ((step + 1) / 20)),
        ("linear", lambda step: 1e-3 if step == 0 else 1e-3 + (step + 1) / 20 * (1.0 - 1e-3)),
    ],
)
def test_rates(mode: str, rate: Any) -> None:
    found = find(Traced(), mode=mode, min_lr=1e-3, max_lr=1.0, early_stop_threshold=None)
    assert found.results["lr"] == [rate(step) for step in range(20)]
    assert len(found.results["loss"]) == 20


def test_steps_are_made_at_these_rates_and_losses_smoothed() -> None:
    """By hand, from the same start."""
    th.seed_everything(4, verbose=False)
    net, loader = Net(scheduler="none"), shuffled()
    found = Tuner(trainer()).lr_find(net, loader, num_training=5, update_attr=False, early_stop_threshold=None)
    assert found is not None
    th.seed_everything(4, verbose=False)
    again = Net(scheduler="none")
    optimizer = torch.optim.AdamW(again.parameters())
    average, expected = 0.0, []
    for step, (inputs, target) in enumerate(shuffled()):
        optimizer.param_groups[0]["lr"] = found.rate(step)
        loss = torch.nn.functional.mse_loss(again(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average = 0.98 * average + 0.02 * loss.item()
        expected.append(average / (1 - 0.98 ** (step + 2)))
    assert found.results["loss"] == pytest.approx(expected, rel=1e-12)


def test_it_ends_where_the_loss_grows() -> None:
    assert len(find(Net(), max_lr=1e4, num_training=100).results["loss"]) < 100


def test_accumulated_batches_make_one_step() -> None:
    net = Traced()
    found = find(net, trainer(accumulate_grad_batches=2), num_training=6)
    assert len(found.results["lr"]) == len(found.results["loss"]) == 6


def test_steps_without_a_loss() -> None:
    class Silent(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    with pytest.warns(UserWarning, match="training_step returned None"):
        found = find(Silent(), num_training=4)
    assert [math.isnan(loss) for loss in found.results["loss"]] == [False, True, False, False]


def test_the_suggestion_is_the_steepest_fall() -> None:
    finder = LRFinder("linear", 0.0, 1.0, 20)
    finder.results = {"lr": [float(i) for i in range(20)], "loss": [10.0] * 12 + [9.0, 3.0, 2.0] + [2.0] * 5}
    assert finder.suggestion() == 12.0
    finder.results["loss"][13] = math.nan
    assert finder.suggestion() == 12.0
    assert finder.suggestion(skip_begin=16, skip_end=0) == 16.0


def test_too_few_losses_for_a_suggestion() -> None:
    finder = LRFinder("linear", 0.0, 1.0, 20)
    finder.results = {"lr": [0.1] * 12, "loss": [1.0] * 12}
    with pytest.warns(
        UserWarning, match="has 1 losses between the first 10 and the last 1, and a suggestion needs two"
    ):
        assert finder.suggestion() is None


class Axes:
    """What plot asks of matplotlib's axes."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.figure = "figure"

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.calls.append((name, *args))


@pytest.mark.parametrize("mode", ["linear", "exponential"])
def test_plot(mode: str) -> None:
    finder, axes = LRFinder(mode, 0.1, 1.0, 20), Axes()
    finder.results = {"lr": [float(i) for i in range(20)], "loss": [10.0] * 12 + [9.0, 3.0, 2.0] + [2.0] * 5}
    assert finder.plot(suggest=True, ax=axes) == "figure"
    scale = [("set_xscale", "log")] if mode == "exponential" else []
    assert axes.calls == [
        ("plot", finder.results["lr"], finder.results["loss"]), *scale,
        ("set_xlabel", "Learning rate"), ("set_ylabel", "Loss"), ("plot", 12.0, 9.0),
    ]  # fmt: skip


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(MisconfigurationException, match=r"LRFinder.plot draws with matplotlib, which is not"):
        LRFinder("linear", 0.1, 1.0, 2).plot()


def outcome(search: Any, **options: Any) -> dict[str, Any]:
    """Everything that a fit of two epochs leaves, after a search or without one."""
    th.seed_everything(7, verbose=False)
    net = Net()
    made = trainer(**options)
    found = search(made, net) if search else None
    made.fit(net, shuffled(), in_order())
    return {
        "weights": net.state_dict(),
        "optimizer": made.optimizers[0].state_dict(),
        "scheduler": made.lr_scheduler_configs[0].scheduler.state_dict(),
        "metrics": made.callback_metrics,
        "position": (made.current_epoch, made.global_step, made.max_steps, made.max_epochs, made.logger_step),
        "callbacks": [type(callback).__name__ for callback in made.callbacks],
        "random": capture_rng()["torch"],
        "lr": net.lr,
        "found": found is not None,
    }


def by_hand(made: th.Trainer, net: Net) -> Any:
    return Tuner(made).lr_find(net, shuffled(), num_training=12, update_attr=False)


def test_the_trainer_is_as_before() -> None:
    """The run after a search has the bits of the run without one."""
    searched, plain = outcome(by_hand), outcome(None)
    assert searched.pop("found")
    assert not plain.pop("found")
    assert same(searched, plain) == ""


def test_so_is_a_fit_that_searches_itself() -> None:
    callback = LearningRateFinder(num_training_steps=12, update_attr=False)
    th.seed_everything(7, verbose=False)
    nets = []
    for callbacks in ([], [callback]):
        th.seed_everything(7, verbose=False)
        net = Net()
        trainer(*callbacks).fit(net, shuffled(), in_order())
        nets.append(bits(net))
    assert nets[0] == nets[1]
    assert callback.optimal_lr is not None


@pytest.mark.parametrize("where", ["lr", "learning_rate", "hparams", "rate"])
def test_the_rate_is_set(where: str) -> None:
    class Named(Net):
        def __init__(self, learning_rate: float = 0.05) -> None:
            super().__init__(scheduler="none")
            del self.lr
            if where == "hparams":
                self.save_hyperparameters()
            else:
                setattr(self, where, learning_rate)

        def configure_optimizers(self) -> Any:
            rate = self.hparams.learning_rate if where == "hparams" else getattr(self, where)
            return torch.optim.SGD(self.parameters(), rate)

    net = Named()
    name = where if where == "rate" else ""
    found = Tuner(trainer()).lr_find(net, shuffled(), num_training=40, attr_name=name)
    assert found is not None
    rate = net.hparams.learning_rate if where == "hparams" else getattr(net, where)
    assert rate == found.suggestion()
    made = trainer()
    made.fit(net, shuffled())
    assert made.optimizers[0].param_groups[0]["lr"] == rate


def test_a_callback_sets_the_running_optimizer() -> None:
    net, callback = Traced(scheduler="none"), LearningRateFinder(num_training_steps=40)
    trainer(callback).fit(net, shuffled())
    assert callback.optimal_lr is not None
    assert set(net.rates) == {callback.optimal_lr.suggestion()} == {net.lr}


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_goes_on_with_what_was_found(tmp_path: Path, way: str) -> None:
    searched: list[int] = []

    class Noting(LearningRateFinder):
        def lr_find(self, trainer: Any, pl_module: Any) -> None:
            searched.append(trainer.global_step)
            super().lr_find(trainer, pl_module)

    made = Resumes(lambda: [Noting(num_training_steps=40)]).check(tmp_path, 7, way)
    assert len(searched) == 2  # the undisturbed run, and the one that was interrupted
    assert made.lightning_module.lr == made.callbacks[0].optimal_lr.suggestion()  # type: ignore[attr-defined]


def test_other_moments() -> None:
    found: list[Any] = []

    class Later(LearningRateFinder):
        def on_fit_start(self, *_: Any) -> None:
            """Not here."""

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.lr_find(trainer, pl_module)
            found.append(len(self.optimal_lr.results["loss"]) if self.optimal_lr else 0)

    trainer(Later(num_training_steps=14)).fit(Net(), shuffled(), in_order())
    assert found == [14, 14]


def test_fast_dev_run() -> None:
    with pytest.warns(UserWarning, match="the learning rate search is left out under fast_dev_run"):
        assert Tuner(trainer(fast_dev_run=True)).lr_find(Net(), shuffled()) is None


class Two(Net):
    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), 0.1) for _ in range(2)]


class Nameless(Net):
    """Its rate is nowhere to be set."""

    def __init__(self) -> None:
        super().__init__()
        del self.lr

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def manual() -> Net:
    net = Two()
    net.automatic_optimization = False
    return net


@pytest.mark.parametrize(
    ("net", "options", "said"),
    [
        (Net, {"method": "test"}, r"Tuner.lr_find\(method='test'\): rates are of training"),
        (Net, {"dataloaders": []}, r"Tuner.lr_find\(method='fit'\) takes train_dataloaders or a datamodule, not"),
        (Net, {"mode": "log"}, "learning rate search: mode='log' does not exist"),
        (Net, {"min_lr": 0}, "min_lr=0 must be above 0 and below max_lr=1"),
        (Net, {"min_lr": 2.0}, "min_lr=2.0 must be above 0 and below max_lr=1"),
        (Net, {"num_training": 0}, "num_training=0 must be an integer of at least 1"),
        (Net, {"attr_name": "alpha"}, "there is no 'alpha' in Net, nor in their hyperparameters; set self.alpha"),
        (Nameless, {}, "found neither 'lr' nor 'learning_rate' in Nameless or its hyperparameters; pass attr_name"),
        (manual, {}, "moves the rate of one optimizer, but configure_optimizers makes 2"),
    ],
)
def test_what_cannot_be_searched(net: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        Tuner(trainer()).lr_find(net(), shuffled(), **options)


def test_no_field_is_an_attribute_error_too() -> None:
    with pytest.raises(AttributeError) as caught:
        Tuner(trainer()).lr_find(Nameless(), shuffled())
    assert isinstance(caught.value, NoSuchField)


def test_not_beside_the_callback() -> None:
    with pytest.raises(MisconfigurationException, match="the Trainer has a LearningRateFinder among its callbacks"):
        Tuner(trainer(LearningRateFinder())).lr_find(Net(), shuffled())


def on_rank(rank: int) -> tuple[list[float], list[float], dict[str, bytes]]:
    th.seed_everything(3, verbose=False)
    net = Net()
    made = trainer(strategy="ddp")
    found = Tuner(made).lr_find(net, shuffled(), num_training=15, update_attr=False)
    made.fit(net, shuffled())
    assert found is not None
    return found.results["lr"], found.results["loss"], bits_but_statistics(net)


def without_search(rank: int) -> dict[str, bytes]:
    th.seed_everything(3, verbose=False)
    net = Net()
    trainer(strategy="ddp").fit(net, shuffled())
    return bits_but_statistics(net)


def bits_but_statistics(net: Net) -> dict[str, bytes]:
    return {name: value for name, value in bits(net).items() if "running" not in name}


def test_several_ranks_search_together(tmp_path: Path) -> None:
    first, second = run_ranks(on_rank, 2, tmp_path)
    assert first == second
    assert run_ranks(without_search, 2, tmp_path)[0] == first[2]
