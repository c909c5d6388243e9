"""Every form of configure_optimizers, and when schedulers step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from trainer_line import Line, fit, numbers, trainer
from trainer_models import QUIET

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException


def sgd(module: Line, lr: float = 1.0) -> SGD:
    return SGD(module.parameters(), lr)


def halving(optimizer: Any) -> StepLR:
    return StepLR(optimizer, 1, gamma=0.5)


def with_scheduler(**options: Any) -> Callable[[Line], Any]:
    """An optimizer with a scheduler that halves the rate whenever it steps."""

    def configure(module: Line) -> Any:
        optimizer = sgd(module)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halving(optimizer), **options}}

    return configure


def two_lists(module: Line) -> Any:
    optimizer = sgd(module)
    return [optimizer], [halving(optimizer), {"scheduler": halving(optimizer), "interval": "step", "frequency": 3}]


def plain_in_dict(module: Line) -> Any:
    optimizer = sgd(module)
    return {"optimizer": optimizer, "lr_scheduler": halving(optimizer)}


FORMS: dict[str, tuple[Callable[[Line], Any], list[tuple[str, int, str | None]]]] = {
    "an optimizer": (sgd, []),
    "a list": (lambda module: [sgd(module)], []),
    "a tuple": (lambda module: (sgd(module),), []),
    "two lists": (two_lists, [("epoch", 1, None), ("step", 3, None)]),
    "a dict": (lambda module: {"optimizer": sgd(module)}, []),
    "a dict with a scheduler": (plain_in_dict, [("epoch", 1, None)]),
    "a list of dicts": (lambda module: [plain_in_dict(module)], [("epoch", 1, None)]),
    "a dict of dicts": (
        with_scheduler(interval="step", frequency=2, monitor="loss", strict=False, name="rate"),
        [("step", 2, "loss")],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    configure, schedulers = FORMS[form]
    module = Line(configure)
    made = fit(module, 1, 2)
    assert [type(optimizer) for optimizer in made.optimizers] == [SGD]
    assert [(c.interval, c.frequency, c.monitor) for c in made.lr_scheduler_configs] == schedulers
    assert module.weight.item() == -3
    assert module.optimizers(use_pl_optimizer=False) is made.optimizers[0]
    assert isinstance(module.optimizers(), SGD)
    found = module.lr_schedulers()
    assert {0: found is None, 1: isinstance(found, StepLR)}.get(len(schedulers), isinstance(found, list))


def test_no_optimizer_trains_nothing_and_says_so() -> None:
    module = Line(lambda module: None)
    with pytest.warns(UserWarning, match="None"):
        made = fit(module, 1, 2)
    assert (module.weight.item(), module.fed, made.global_step) == (0, [1, 2], 2)


def foreign(module: Line) -> Any:
    return [sgd(module)], [halving(sgd(module))]


REFUSED: dict[str, tuple[Callable[[Line], Any], type[Exception], str]] = {
    "a number": (lambda module: 3, MisconfigurationException, "configure_optimizers returned int; it must be"),
    "an empty list": (lambda module: [], MisconfigurationException, r"configure_optimizers returned \[\]"),
    "a dict without optimizer": (
        lambda module: {"optimiser": sgd(module)},
        MisconfigurationException,
        "without 'optimizer'",
    ),
    "a class": (lambda module: [SGD], MisconfigurationException, r"configure_optimizers returned \[the class SGD\];"),
    "an optimizer and a scheduler outside of lists": (
        lambda module: (made := sgd(module), halving(made)),
        MisconfigurationException,
        r"^configure_optimizers returned \(SGD, StepLR\); put each in a list: return \[optimizer\], \[scheduler\]$",
    ),
    "an optimizer and nothing": (
        lambda module: (sgd(module), None),
        MisconfigurationException,
        r"^configure_optimizers returned \(SGD, NoneType\); it must be an optimizer, a list",
    ),
    "something else in two lists": (
        lambda module: ([1], []),
        MisconfigurationException,
        "int, which is no torch Optim",
    ),
    "two optimizers": (lambda module: [sgd(module), sgd(module)], RuntimeError, "automatic_optimization = False"),
    "a foreign scheduler": (foreign, MisconfigurationException, "StepLR belongs to an optimizer that"),
    "no scheduler in the dict": (
        lambda module: {"optimizer": sgd(module), "lr_scheduler": {"interval": "step"}},
        MisconfigurationException,
        "has no 'scheduler'",
    ),
    "an unknown interval": (with_scheduler(interval="batch"), MisconfigurationException, "interval='batch'"),
    "a frequency of zero": (with_scheduler(frequency=0), MisconfigurationException, "frequency=0 must be"),
    "plateau without monitor": (
        lambda module: {"optimizer": (made := sgd(module)), "lr_scheduler": ReduceLROnPlateau(made)},
        MisconfigurationException,
        "monitor=",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    configure, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        fit(Line(configure), 1)


@pytest.mark.parametrize(
    ("configure", "message"),
    [
        (with_scheduler(intervall="step"), "the lr_scheduler dict ignores 'intervall'.*'interval'"),
        (
            lambda module: {"optimizer": sgd(module), "lr_schedular": None},
            "ignores 'lr_schedular'.*'lr_scheduler'",
        ),
        (lambda module: ([made := sgd(module)], [OneCycleLR(made, 1.0, 10)]), "interval='step'"),
    ],
)
def test_warned_of(configure: Callable[[Line], Any], message: str) -> None:
    with pytest.warns(RuntimeWarning, match=message):
        fit(Line(configure), 1)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("skipped", ["the rest of the epoch", "a batch"])
@pytest.mark.parametrize("plateau", [False, True])
def test_schedulers_step_with_the_optimizer_and_not_without(plateau: bool, skipped: str, accumulate: int) -> None:
    """Two epochs of five batches; the fourth of each is none, or ends it."""

    class Skipping(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("loss", 1.0)
            return super().training_step(batch, batch_idx)

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            return -1 if skipped == "the rest of the epoch" and batch_idx == 3 else None

        def train_dataloader(self) -> Any:
            return Holed() if skipped == "a batch" else numbers(1, 2, 3, 4, 5)

        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            counted.append(self.global_step)

    class Holed:
        def __iter__(self) -> Any:
            return (None if index == 3 else batch for index, batch in enumerate(numbers(1, 2, 3, 4, 5)))

        def __len__(self) -> int:
            return 5

    counted: list[int] = []

    def configure(module: Line) -> Any:
        optimizer = sgd(module)
        scheduler = ReduceLROnPlateau(optimizer) if plateau else halving(optimizer)
        config = {"scheduler": scheduler, "interval": "step", "monitor": "loss", "reduce_on_plateau": plateau}
        return {"optimizer": optimizer, "lr_scheduler": config}

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the training loader gave None")
        fitting = th.Trainer(**QUIET, max_epochs=2, accumulate_grad_batches=accumulate)
        fitting.fit(Skipping(configure))
    assert counted == list(range(1, fitting.global_step + 1))


class Rates(th.Callback):
    """The learning rate of each training batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates(configure: Callable[[Line], Any], module: type[Line] = Line, **arguments: Any) -> list[float]:
    """The rates of epochs of four batches."""
    seen = Rates()
    trainer(seen, **{"max_epochs": 2, **arguments}).fit(module(configure), numbers(1, 1, 1, 1))
    return seen.seen


@pytest.mark.parametrize(
    ("options", "arguments", "expected"),
    [
        ({}, {}, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]),
        ({"frequency": 2}, {"max_epochs": 3, "limit_train_batches": 1}, [1, 1, 0.5]),
        ({"interval": "step"}, {"max_epochs": 1}, [1, 0.5, 0.25, 0.125]),
        ({"interval": "step", "frequency": 2}, {}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        # Batches are counted within their epoch.
        ({"interval": "step", "frequency": 3}, {}, [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]),
        # Once per optimizer step: after the second and fourth, and after the third and last.
        ({"interval": "step"}, {"accumulate_grad_batches": 2}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        ({"interval": "step"}, {"accumulate_grad_batches": 3}, [1, 1, 1, 0.5, 0.25, 0.25, 0.25, 0.125]),
    ],
)
def test_when_schedulers_step(options: dict[str, Any], arguments: dict[str, Any], expected: list[float]) -> None:
    assert rates(with_scheduler(**options), **arguments) == expected


def test_schedulers_are_left_alone_in_manual_optimisation() -> None:
    class Manual(Line):
        automatic_optimization = False

    assert rates(with_scheduler(interval="step"), Manual) == [1.0] * 8


class Logging(Line):
    """Logs a loss that never improves."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Log it."""
        self.log("loss", 1.0 + self.global_step)
        return super().training_step(batch, batch_idx)


def plateau(monitor: str = "loss", **options: Any) -> Callable[[Line], Any]:
    """Halves the rate at each look after the first."""

    def configure(module: Line) -> Any:
        optimizer = sgd(module)
        scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **options}, "monitor": monitor}

    return configure


def test_plateau_gets_the_metric() -> None:
    assert rates(plateau(), Logging, max_epochs=3) == [1] * 8 + [0.5] * 4
    assert rates(plateau(interval="step"), Logging, max_epochs=1) == [1, 1, 0.5, 0.25]


def test_plateau_without_its_metric() -> None:
    with pytest.raises(MisconfigurationException, match=r"watches 'lost'.*\['loss'\]"):
        rates(plateau("lost"), Logging)
    with pytest.warns(RuntimeWarning, match="watches 'lost'.*strict=False"):
        assert rates(plateau("lost", strict=False), Logging) == [1.0] * 8


def test_a_scheduler_of_ones_own() -> None:
    class Every:
        """Not torch's: takes the epoch."""

        def __init__(self) -> None:
            self.epochs: list[int] = []

        def state_dict(self) -> dict[str, Any]:
            return {"epochs": self.epochs}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.epochs = state["epochs"]

    class Stepping(Line):
        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            scheduler.epochs.append(self.current_epoch)

    scheduler = Every()
    configure: Callable[[Line], Any] = lambda module: ([sgd(module)], [scheduler])  # noqa: E731 - one of a kind
    rates(configure, Stepping)
    assert scheduler.epochs == [0, 1]
    with pytest.raises(MisconfigurationException, match="Every is not torch's; override lr_scheduler_step"):
        rates(configure)
    # Having a step is not enough: nobody knows what it takes.
    scheduler.__class__ = type("Steps", (Every,), {"step": lambda self: None})
    with pytest.raises(MisconfigurationException, match="Steps is not torch's; override lr_scheduler_step"):
        rates(configure)
    scheduler.__class__ = type("Stateless", (), {"step": lambda self: None})
    with pytest.raises(TypeError, match="Stateless has no state_dict"):
        rates(configure)


def test_a_scheduler_of_ones_own_may_watch_a_metric() -> None:
    """``reduce_on_plateau`` in the dict, rather than torch's class, decides on who gets the metric."""
    seen: list[Any] = []

    class Watching(StepLR):
        def step(self, metric: Any = None) -> None:
            seen.append(metric if metric is None else float(metric))

    def configure(module: Line) -> Any:
        optimizer = sgd(module)
        scheduler = {"scheduler": Watching(optimizer, 1), "reduce_on_plateau": True, "monitor": "loss"}
        return [optimizer], [scheduler]

    rates(configure, Logging)
    # The constructor of a torch scheduler steps once itself.
    assert seen == [None, 4.0, 8.0]


def test_plateau_without_monitor_is_no_matter_in_manual_optimisation() -> None:
    class Manual(Line):
        automatic_optimization = False

    def configure(module: Line) -> Any:
        return [made := sgd(module)], [ReduceLROnPlateau(made)]

    assert rates(configure, Manual) == [1.0] * 8
