"""When EarlyStopping gives up."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import EarlyStopping
from thunderhead.callbacks.early_stopping import EarlyStoppingReason


class Scripted(Net):
    """Validation gives one value after the other."""

    def __init__(self, values: list[float]) -> None:
        super().__init__(scheduler="none")
        self.values = values

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The value of this epoch."""
        self.log("metric", self.values[min(self.current_epoch, len(self.values) - 1)])


def epochs(values: list[float], *, trainer: dict[str, Any] | None = None, **options: Any) -> tuple[int, EarlyStopping]:
    """Epochs trained, and the callback."""
    callback = EarlyStopping("metric", **options)
    made = th.Trainer(**QUIET, **{"max_epochs": 12, **(trainer or {})}, callbacks=[callback])
    made.fit(Scripted(values), shuffled(batch_size=20), in_order())
    return made.current_epoch, callback


@pytest.mark.parametrize(
    ("values", "options", "trained", "reason"),
    [
        ([5, 4, 3, 3, 3, 3], {"patience": 2}, 5, EarlyStoppingReason.PATIENCE_EXHAUSTED),
        ([5, 4, 3, 3, 3, 3], {"patience": 1}, 4, EarlyStoppingReason.PATIENCE_EXHAUSTED),
        ([1, 2, 3, 3, 3, 3], {"patience": 2, "mode": "max"}, 5, EarlyStoppingReason.PATIENCE_EXHAUSTED),
        ([5, 4.9, 4.8, 4.7], {"patience": 2, "min_delta": 0.5}, 3, EarlyStoppingReason.PATIENCE_EXHAUSTED),
        ([5, 4, math.nan], {}, 3, EarlyStoppingReason.NON_FINITE_METRIC),
        ([5, 4, math.inf], {}, 3, EarlyStoppingReason.NON_FINITE_METRIC),
        ([5, 4, 0.5, 3], {"stopping_threshold": 1.0}, 3, EarlyStoppingReason.STOPPING_THRESHOLD),
        ([5, 6, 99, 3], {"divergence_threshold": 50.0}, 3, EarlyStoppingReason.DIVERGENCE_THRESHOLD),
        ([0.0, 0.0, 0.0, 0.0], {"patience": 2}, 3, EarlyStoppingReason.PATIENCE_EXHAUSTED),
    ],
)
def test_reasons(values: list[float], options: dict[str, Any], trained: int, reason: EarlyStoppingReason) -> None:
    found, callback = epochs(values, **options)
    assert (found, callback.stopping_reason) == (trained, reason)
    assert callback.stopping_reason_message is not None
    assert "metric" in callback.stopping_reason_message
    assert callback.stopped_epoch == trained - 1


def test_improvement_all_along() -> None:
    found, callback = epochs([float(-n) for n in range(20)])
    assert (found, callback.stopping_reason, callback.stopped_epoch) == (12, EarlyStoppingReason.NOT_STOPPED, 0)
    assert callback.best_score == -11.0


def test_nan_is_no_improvement_where_it_does_not_stop() -> None:
    found, callback = epochs([5, 4, math.nan, 1], check_finite=False, patience=9)
    assert (found, callback.best_score, callback.wait_count) == (12, 1.0, 8)


def test_patience_counts_checks_not_epochs() -> None:
    """Validation after every second batch of a run whose epochs have two batches; and every third epoch."""
    assert epochs([1.0], patience=3, trainer={"val_check_interval": 1})[0] == 2
    assert epochs([1.0], patience=2, trainer={"check_val_every_n_epoch": 3})[0] == 9


def test_min_epochs_holds_it_back() -> None:
    assert epochs([1.0], patience=1, trainer={"min_epochs": 6})[0] == 6


@pytest.mark.parametrize("strict", [True, False])
def test_a_missing_metric(strict: bool) -> None:
    callback = EarlyStopping("metrik", strict=strict)
    trainer = th.Trainer(**QUIET, max_epochs=2, callbacks=[callback])
    if strict:
        with pytest.raises(RuntimeError, match=r"'metrik'.*Did you mean 'metric'") as caught:
            trainer.fit(Scripted([1.0]), shuffled(), in_order())
        assert isinstance(caught.value, th.MisconfigurationException), "a job ends at once"
    else:
        with pytest.warns(RuntimeWarning, match="'metrik'"):
            trainer.fit(Scripted([1.0]), shuffled(), in_order())


def test_off_under_fast_dev_run() -> None:
    callback = EarlyStopping("nothing")
    th.Trainer(**QUIET, fast_dev_run=True, callbacks=[callback]).fit(Scripted([1.0]), shuffled(), in_order())


def test_state_goes_through_a_checkpoint() -> None:
    _, callback = epochs([5, 4, 4], patience=9, trainer={"max_epochs": 3})
    other = EarlyStopping("metric")
    with pytest.warns(UserWarning, match="patience of 9 stands, not the 3 of now"):
        other.load_state_dict(callback.state_dict())
    assert (other.wait_count, other.best_score, other.patience) == (1, torch.tensor(4.0), 9)
    assert other.state_key == "EarlyStopping{'monitor': 'metric', 'mode': 'min'}"


def test_an_unknown_mode() -> None:
    with pytest.raises(th.MisconfigurationException, match="mode='auto'"):
        EarlyStopping("a", mode="auto")


@pytest.mark.parametrize(
    ("at_epoch_end", "trainer", "checks"),
    [
        (None, {}, 3),
        (True, {}, 3),
        (False, {}, 3),
        # Two validations per epoch: by default each of them is a check.
        (None, {"val_check_interval": 1}, 6),
        (True, {"val_check_interval": 1}, 3),
        (False, {"val_check_interval": 1}, 6),
        # A validation in every third epoch.
        (None, {"check_val_every_n_epoch": 3}, 1),
        (False, {"check_val_every_n_epoch": 3}, 1),
        (None, {"val_check_interval": timedelta(0)}, 6),
    ],
)
def test_when_it_looks(at_epoch_end: bool | None, trainer: dict[str, Any], checks: int) -> None:
    """Three epochs of two batches; the first check finds an improvement, the others wait."""
    options = {"patience": 99, "check_on_train_epoch_end": at_epoch_end}
    found, callback = epochs([1.0], trainer={"max_epochs": 3, **trainer}, **options)
    assert (found, callback.wait_count) == (3, checks - 1)


@pytest.mark.parametrize("run", ["sanity check", "validate", "dry run"])
def test_it_looks_at_training_only(run: str) -> None:
    callback = EarlyStopping("absent", check_on_train_epoch_end=False)
    arguments: dict[str, Any] = {"fast_dev_run": True} if run == "dry run" else {"max_epochs": 1, "max_steps": 0}
    made = th.Trainer(**QUIET, **arguments, callbacks=[callback])
    if run == "validate":
        made.validate(Scripted([1.0]), in_order(), verbose=False)
    else:
        made.fit(Scripted([1.0]), shuffled(), in_order())
    assert callback.wait_count == 0


def test_a_negative_delta_is_a_distance() -> None:
    assert epochs([5, 4.9, 4.8, 4.7], patience=2, min_delta=-0.5)[0] == 3


def test_thresholds_are_exclusive() -> None:
    """Exactly there is neither better nor worse."""
    assert epochs([1.0], patience=9, stopping_threshold=1.0, divergence_threshold=1.0)[0] == 10


@pytest.mark.parametrize("verbose", [False, True])
def test_improvements_are_said_on_request(verbose: bool, caplog: pytest.LogCaptureFixture) -> None:
    epochs([5, 4, 4], patience=1, verbose=verbose)
    said = [record.getMessage() for record in caplog.records if "metric" in record.getMessage()]
    assert said == ["metric improved from 5.000 to 4.000"] * verbose + [
        "metric did not improve in the last 1 checks; best 4.000; training stops"
    ]


@pytest.mark.parametrize(
    ("rank", "only_zero", "said"),
    [(0, False, ["[rank 0] why"]), (1, False, ["[rank 1] why"]), (0, True, ["[rank 0] why"]), (1, True, [])],
)
def test_several_ranks_say_whose_reason_it_is(
    rank: int, only_zero: bool, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    place: Any = SimpleNamespace(world_size=2, global_rank=rank, is_global_zero=rank == 0)
    EarlyStopping("metric", log_rank_zero_only=only_zero)._tell(place, "why")
    assert [record.getMessage() for record in caplog.records] == said


def test_state_goes_on(tmp_path: Path) -> None:
    first = EarlyStopping("metric", patience=4)
    made = th.Trainer(**QUIET, max_epochs=3, callbacks=[first])
    made.fit(Scripted([1.0]), shuffled(batch_size=20), in_order())
    assert first.wait_count == 2
    made.save_checkpoint(tmp_path / "a.ckpt")
    again = EarlyStopping("metric", patience=9)
    resumed = th.Trainer(**QUIET, max_epochs=12, callbacks=[again])
    with pytest.warns(UserWarning, match="patience of 4 stands, not the 9 of now"):
        resumed.fit(Scripted([1.0]), shuffled(batch_size=20), in_order(), ckpt_path=tmp_path / "a.ckpt")
    assert (resumed.current_epoch, again.patience, again.best_score) == (5, 4, 1.0)


def test_defaults() -> None:
    callback = EarlyStopping("metric")
    assert (callback.patience, callback.min_delta, callback.strict, callback.check_finite) == (3, 0.0, True, True)


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("val_loss", r"'val_loss', which was not logged. No validation runs"),
        ("val_loss", r"There are \[.*\]; log it with self.log, or set monitor to one of these"),
        ("tran_loss", r"Did you mean 'train_loss'"),
    ],
)
def test_a_metric_of_a_validation_that_does_not_run(monitor: str, message: str) -> None:
    class Logging(Net):
        def on_train_epoch_end(self) -> None:
            self.log("train_loss", 1.0)

    made = th.Trainer(**QUIET, max_epochs=1, limit_val_batches=0, callbacks=[EarlyStopping(monitor)])
    with pytest.raises(RuntimeError, match=message) as caught:
        made.fit(Logging(scheduler="none"), shuffled(batch_size=20), in_order())
    assert ("Did you mean" in str(caught.value)) == (monitor != "val_loss")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": "3"}, "patience='3' must be an integer of at least 0"),
        ({"patience": True}, "patience=True must be an integer"),
        ({"verbose": "no"}, "verbose='no' must be True or False"),
        ({"strict": None}, "strict=None must be True or False"),
        ({"check_finite": "yes"}, "check_finite='yes' must be True or False"),
    ],
)
def test_counts_and_switches(options: dict[str, Any], message: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=message):
        EarlyStopping("metric", **options)
