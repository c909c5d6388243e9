"""Timer: what it measures, when it ends training, and that time goes on counting after a resume."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import Timer
from thunderhead.exceptions import MisconfigurationException


class Clock:
    """Goes on by a second per training batch, and never by itself."""

    def __init__(self, start: float = 100.0) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now


class Ticks(th.Callback):
    """Moves the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_train_batch_start(self, *args: Any) -> None:
        """A batch takes a second."""
        self._clock.now += 1

    def on_validation_batch_start(self, *args: Any) -> None:
        """So does one of validation."""
        self._clock.now += 1


def fit(timer: Timer, clock: Clock, *loaders: Any, ckpt_path: Path | None = None, **options: Any) -> th.Trainer:
    """Train epochs of five batches."""
    arguments = {**QUIET, "max_epochs": 4, "num_sanity_val_steps": 0, **options}
    trainer = th.Trainer(**arguments, callbacks=[Ticks(clock), timer])
    trainer.fit(Net(), shuffled(), *loaders, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("duration", ["00:00:00:07", timedelta(seconds=7), {"seconds": 7}])
@pytest.mark.parametrize(("interval", "steps"), [("step", 7), ("epoch", 10)])
def test_training_ends_at_the_limit(duration: Any, interval: str, steps: int) -> None:
    clock = Clock()
    timer = Timer(duration, interval=interval, clock=clock)
    assert fit(timer, clock).global_step == steps
    assert timer.time_elapsed() == steps
    assert timer.time_remaining() == 7 - steps


def test_min_steps_hold_it_back() -> None:
    clock = Clock()
    assert fit(Timer({"seconds": 2}, clock=clock), clock, min_steps=6).global_step == 6


def test_each_stage_is_measured() -> None:
    clock = Clock()
    timer = Timer(clock=clock)
    assert (timer.start_time(), timer.end_time(), timer.time_elapsed(), timer.time_remaining()) == (None, None, 0, None)
    fit(timer, clock, in_order(), max_epochs=2)
    assert (timer.start_time(), timer.end_time(), timer.time_elapsed()) == (100.0, 114.0, 14.0)
    assert timer.time_elapsed("validate") == 2.0
    assert timer.time_elapsed("test") == 0.0
    rule = "use one of train, sanity_check, validate, test, predict"
    for ask in (timer.start_time, timer.end_time, timer.time_elapsed, Timer({"seconds": 1}).time_remaining):
        with pytest.raises(MisconfigurationException, match=rule):
            ask("training")


def test_time_counts_on_after_a_resume(tmp_path: Path) -> None:
    clock = Clock()
    trainer = fit(Timer({"seconds": 100}, clock=clock), clock, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    later = Clock(5000.0)
    timer = Timer({"seconds": 7}, clock=later)
    assert fit(timer, later, ckpt_path=tmp_path / "x.ckpt").global_step == 7
    assert timer.time_elapsed() == 7
    done = Timer({"seconds": 5}, clock=later)
    assert fit(done, later, ckpt_path=tmp_path / "x.ckpt").global_step == 5


def test_it_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    for verbose in (True, False):
        clock = Clock()
        fit(Timer({"seconds": 2}, verbose=verbose, clock=clock), clock)
    assert [r.getMessage() for r in caplog.records if "time limit" in r.getMessage()] == [
        "the time limit of 2 s is reached; training stops"
    ]


def test_max_time_adds_one_unless_one_is_given(caplog: pytest.LogCaptureFixture) -> None:
    def timers(**options: Any) -> list[Timer]:
        return [c for c in th.Trainer(**QUIET, **options).callbacks if isinstance(c, Timer)]

    assert [timer.time_remaining() for timer in timers(max_time={"minutes": 2})] == [120.0]
    given = Timer()
    assert timers(max_time={"minutes": 2}, callbacks=[given]) == [given]
    assert "max_time is ignored: a Timer callback was given" in caplog.text


@pytest.mark.parametrize("arguments", [{"interval": "batch"}, {"duration": "5 minutes"}, {"duration": {"parsecs": 1}}])
def test_arguments_that_mean_nothing(arguments: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException):
        Timer(**arguments)


def test_the_default_clock_goes_forward() -> None:
    timer = Timer()
    th.Trainer(**QUIET, max_epochs=1, callbacks=[timer]).fit(Net(), shuffled())
    start, end = timer.start_time(), timer.end_time()
    assert start is not None
    assert end is not None
    assert timer.time_elapsed() == end - start >= 0
