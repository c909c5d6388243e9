"""How much of its data a run uses, and how long it goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from trainer_line import TEN, Line, numbers, run, trainer
from trainer_models import QUIET

import thunderhead as th


@pytest.mark.parametrize(
    ("limit", "batches"),
    [(1, 1), ("1 batch", 1), (1.0, 10), ("100%", 10), (0.25, 2), ("3 batches", 3), (99, 10), (0, 0), (0.0, 0)],
)
def test_the_batches_that_are_trained_on(limit: Any, batches: int) -> None:
    assert run(limit_train_batches=limit)[0].fed == TEN[:batches]


class Endless(IterableDataset[Any]):
    """Without a length."""

    def __iter__(self) -> Any:
        return iter([[torch.tensor([float(number)])] for number in TEN])


@pytest.mark.parametrize(
    ("arguments", "fed", "validated"),
    [({}, 10, [10]), ({"limit_train_batches": 3}, 3, [3]), ({"val_check_interval": 4}, 10, [4, 8])],
)
def test_loaders_without_a_length(arguments: dict[str, Any], fed: int, validated: list[int]) -> None:
    module, _ = run(train=DataLoader(Endless(), batch_size=None), val=numbers(0), **arguments)
    assert (module.fed, module.validated) == (TEN[:fed], validated)


def test_the_other_loops_have_their_own_limits() -> None:
    class Evaluating(Line):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.fed.append(batch[0].item())

        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return batch[0].item()

    module = Evaluating()
    trainer(limit_test_batches=0.5).test(module, numbers(*TEN), verbose=False)
    assert module.fed == TEN[:5]
    made = trainer(limit_predict_batches="2 batches")
    assert made.predict(module, numbers(*TEN)) == [1, 2]
    assert made.predict(module, [numbers(7), numbers(8, 9)]) == [[7], [8, 9]]
    assert made.predict(module, numbers(*TEN), return_predictions=False) is None
    assert len(run(limit_val_batches=3)[0].validated) == 3


def test_the_step_says_whether_it_takes_several_loaders() -> None:
    class Asking(Line):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            return dataloader_idx

    class Short(Line):
        def predict_step(self, batch: Any) -> Any:
            return batch[0].item()

    assert trainer().predict(Asking(), [numbers(7), numbers(8, 9)]) == [[0], [1, 1]]
    assert trainer().predict(Short(), numbers(8, 9)) == [8, 9]
    with pytest.raises(RuntimeError, match="wants dataloader_idx, but there is one loader"):
        trainer().predict(Asking(), numbers(7))
    with pytest.raises(RuntimeError, match="batches of several loaders; give it an argument dataloader_idx"):
        trainer().predict(Short(), [numbers(7), numbers(8)])


@pytest.mark.parametrize(
    ("arguments", "batches", "epochs"),
    [
        ({"max_epochs": 2}, 20, 2),
        ({"max_epochs": 0}, 0, 0),
        ({"max_steps": 0}, 0, 0),
        ({"max_steps": 12, "max_epochs": None}, 12, 2),
        ({"max_steps": 12, "max_epochs": 1}, 10, 1),
        ({"max_steps": 12, "max_epochs": -1}, 12, 2),
        # Three windows of an epoch: after four, eight and ten batches.
        ({"max_steps": 3, "max_epochs": 5, "accumulate_grad_batches": 4}, 10, 1),
        ({"max_time": timedelta(0)}, 0, 0),
    ],
)
def test_the_first_limit_ends_it(arguments: dict[str, Any], batches: int, epochs: int) -> None:
    module, made = run(**arguments)
    assert (len(module.fed), made.current_epoch) == (batches, epochs)


class StopAfterThree(Line):
    """Wants to stop."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Ask."""
        self.trainer.should_stop = self.trainer.should_stop or len(self.fed) == 3


@pytest.mark.parametrize(
    ("arguments", "batches"),
    [
        ({}, 3),
        ({"min_steps": 2, "min_epochs": 0}, 3),
        ({"min_steps": 7, "min_epochs": 0}, 7),
        ({"min_steps": 2}, 10),  # brings a minimum of one epoch with it
        ({"min_epochs": 1}, 10),
        ({"min_epochs": 2}, 20),
        ({"min_epochs": 1, "min_steps": 13}, 13),
    ],
)
def test_should_stop_waits_for_the_minimum(arguments: dict[str, Any], batches: int) -> None:
    assert len(run(StopAfterThree(), max_epochs=3, **arguments)[0].fed) == batches


@pytest.mark.filterwarnings("ignore:the training loader is empty")
def test_what_stops_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The end once; that a minimum holds it back once, however many batches follow."""
    said = {
        "max_epochs=1 reached": {"max_epochs": 1},
        "max_steps=3 reached": {"max_steps": 3, "max_epochs": -1},
        "no training batches": {"limit_train_batches": 0.1, "max_epochs": 1},
    }
    for end, arguments in said.items():
        caplog.clear()
        run(train=numbers() if "no training" in end else None, **arguments)
        assert [r.getMessage() for r in caplog.records] == [f"Trainer.fit stopped: {end}"]
    caplog.clear()
    run(StopAfterThree(), max_epochs=3, min_epochs=2)
    assert [r.getMessage() for r in caplog.records] == [
        "should_stop was set, but training goes on until min_epochs=2 and min_steps=None are met"
    ]


def test_a_second_fit_goes_on_where_the_first_ended() -> None:
    module, made = run(max_epochs=1)
    made.max_epochs = 3
    made.fit(module, numbers(*TEN))
    assert (module.fed, made.current_epoch, made.global_step) == (TEN * 3, 3, 30)


def test_without_any_limit_there_is_one_and_it_is_said() -> None:
    made = th.Trainer(**QUIET)
    with pytest.warns(UserWarning, match=r"max_epochs was not set.*1000; -1 is without a limit"):
        made.fit(StopAfterThree(), numbers(*TEN))
    assert made.max_epochs == 1000


@pytest.mark.parametrize(
    "limits",
    [{"max_steps": 5}, {"max_time": "00:01:00:00"}, {"callbacks": th.callbacks.Timer(timedelta(hours=1))}],
    ids=lambda limits: next(iter(limits)),
)
def test_epochs_are_decided_on_when_training_begins(limits: dict[str, Any]) -> None:
    made = th.Trainer(**QUIET, **limits)
    assert (made.max_epochs, made.min_epochs) == (None, None)
    made.fit(StopAfterThree(), numbers(*TEN))
    assert (made.max_epochs, made.min_epochs) == (-1, 0)


def test_steps_that_only_steps_limit_are_known_before_any_run() -> None:
    assert th.Trainer(**QUIET, max_epochs=-1).estimated_stepping_batches == float("inf")
    assert th.Trainer(**QUIET, max_epochs=-1, max_steps=7).estimated_stepping_batches == 7
    assert th.Trainer(**QUIET, max_steps=7).estimated_stepping_batches == 7
    with pytest.raises(AttributeError, match="no module yet"):
        _ = th.Trainer(**QUIET, max_epochs=1).estimated_stepping_batches


def test_estimated_steps_load_the_data() -> None:
    """As a scheduler needs them while optimizers are made."""
    found: list[Any] = []

    def configure(module: Line) -> Any:
        found.append((module.trainer.train_dataloader is None, module.trainer.estimated_stepping_batches))
        return torch.optim.SGD(module.parameters(), 1.0)

    _, made = run(Line(configure), max_epochs=2, accumulate_grad_batches=3)
    assert found == [(True, 8)]
    assert made.global_step == 8
    run(Line(configure), train=DataLoader(Endless(), batch_size=None), max_epochs=2)
    run(Line(configure), train=DataLoader(Endless(), batch_size=None), max_epochs=2, max_steps=5)
    assert found[1:] == [(True, float("inf")), (True, 5)]


def test_estimated_steps() -> None:
    assert run(max_epochs=3, accumulate_grad_batches=4, limit_train_batches=9)[1].estimated_stepping_batches == 9
    assert run(max_epochs=3, max_steps=7)[1].estimated_stepping_batches == 7
    assert run(max_epochs=0)[1].estimated_stepping_batches in (0, 10)
    assert run(StopAfterThree(), max_epochs=-1)[1].estimated_stepping_batches == float("inf")
