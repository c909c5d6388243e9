"""Ends that come from outside: SIGTERM, time limits, clocks; one for all ranks."""

from __future__ import annotations

import logging
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from trainer_models import QUIET, Net, in_order, regression, shuffled
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from thunderhead.core.ending import SIGTERMException
from thunderhead.warning import notes


class KillAfter(th.Callback):
    """Sends SIGTERM to its own process after a step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.exceptions: list[BaseException] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Send it."""
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Keep it."""
        self.exceptions.append(exception)


def test_sigterm_ends_a_single_process_after_the_step() -> None:
    before = signal.getsignal(signal.SIGTERM)
    callback = KillAfter(3)
    trainer = th.Trainer(**QUIET, max_epochs=5, callbacks=[callback])
    with pytest.raises(SIGTERMException) as ended:
        trainer.fit(Net(), shuffled(), in_order())
    assert ended.value.code == 143
    assert (trainer.global_step, trainer.received_sigterm) == (3, True)
    assert len(callback.exceptions) == 1
    assert signal.getsignal(signal.SIGTERM) is before


REMEDY = "ModelCheckpoint(save_on_exception=True) or OnExceptionCheckpoint saves the last step too"


class FullDisk(th.Callback):
    """Fails once it is told of the end."""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """As writing a file would."""
        raise OSError("no space is left")


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        (lambda path: [], f"no checkpoint was saved; {REMEDY}"),
        (
            lambda path: [ModelCheckpoint(path, filename="two", every_n_train_steps=2)],
            f"checkpoint {{}}/two.ckpt is of step 2; {REMEDY}",
        ),
        (
            lambda path: [ModelCheckpoint(path, filename="at", every_n_epochs=9, save_on_exception=True)],
            "checkpoint {}/at.ckpt is of that step",
        ),
        (lambda path: [OnExceptionCheckpoint(path)], "checkpoint {}/on_exception.ckpt is of that step"),
        (lambda path: [FullDisk()], rf"no checkpoint was saved; {REMEDY}; Afterwards on_exception of FullDisk raised "),
    ],
)
def test_one_line_tells_of_sigterm_and_of_the_checkpoint(
    callbacks: Any, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = callbacks(tmp_path)
    saving = any(isinstance(each, ModelCheckpoint | OnExceptionCheckpoint) for each in given)
    options = {**QUIET, "enable_checkpointing": saving, "max_epochs": 5, "limit_val_batches": 0}
    trainer = th.Trainer(**options, callbacks=[KillAfter(3), *given])
    with pytest.raises(SIGTERMException):
        trainer.fit(Net(), shuffled(), in_order())
    expected = f"SIGTERM: training ended after step 3 with exit code 143; {said.format(tmp_path)}"
    lines = [message for message in caplog.messages if "SIGTERM" in message]
    assert len(lines) == 1
    assert lines[0].startswith(expected)
    assert lines[0] == expected or "no space is left" in lines[0]


def test_the_handler_that_was_there_still_hears_it() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(SIGTERMException):
            th.Trainer(**QUIET, max_epochs=5, callbacks=[KillAfter(1)]).fit(Net(), shuffled(), in_order())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_sigterm_on_one_rank_ends_all_after_one_step(tmp_path: Path) -> None:
    (step, said), (other, nothing) = run_ranks(_terminated, 2, tmp_path)
    assert step == other >= 4
    assert len(said) == 1
    assert said[0].startswith(f"SIGTERM: training ended after step {step} with exit code 143; no checkpoint was saved")
    assert nothing == []


def _terminated(rank: int) -> tuple[int, list[str]]:
    said: list[str] = []
    hears = logging.Handler()
    hears.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]  # all it is for
    notes().addHandler(hears)
    callbacks = [KillAfter(4)] if rank == 1 else []
    trainer = th.Trainer(**QUIET, max_epochs=100_000, callbacks=callbacks)
    with pytest.raises(SIGTERMException):
        trainer.fit(Net(), shuffled(regression(32), batch_size=4), in_order())
    return trainer.global_step, said


def test_a_time_limit_ends_all_ranks_after_one_step(tmp_path: Path) -> None:
    """The clocks of the ranks differ; rank 0's is up in the middle of an epoch."""
    ends = run_ranks(_timed, 2, tmp_path)
    assert ends[0] == ends[1]
    assert ends[0][0] >= 5


def _timed(rank: int) -> tuple[int, bool]:
    class Steps(th.Callback):
        trainer: Any = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.trainer = trainer

    steps = Steps()

    def clock() -> float:
        done = 0 if steps.trainer is None else steps.trainer.global_step
        return 100.0 if rank == 0 and done >= 5 else 0.0

    timer = th.callbacks.Timer(timedelta(seconds=50), clock=clock)
    trainer = th.Trainer(**QUIET, max_epochs=100_000, callbacks=[steps, timer])
    trainer.fit(Net(), shuffled(regression(32), batch_size=4), in_order())
    return trainer.global_step, trainer.should_stop


def test_validation_by_the_clock_comes_on_all_ranks_together(tmp_path: Path) -> None:
    found = run_ranks(_validated_by_the_clock, 2, tmp_path)
    assert found[0] == found[1]
    assert len(found[0]) >= 2


def _validated_by_the_clock(rank: int) -> list[int]:
    class Watching(th.Callback):
        def __init__(self) -> None:
            self.steps: list[int] = []

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            self.steps.append(trainer.global_step)
            trainer.should_stop = len(self.steps) == 3

    watching = Watching()
    arguments = {"val_check_interval": timedelta(0), "num_sanity_val_steps": 0, "check_val_every_n_epoch": None}
    trainer = th.Trainer(**QUIET, max_epochs=100_000, **arguments, callbacks=[watching])
    trainer.fit(Net(), shuffled(regression(32), batch_size=4), in_order())
    return watching.steps


def test_files_by_the_clock_are_written_by_all_ranks_together(tmp_path: Path) -> None:
    assert set(run_ranks(_saved_by_the_clock, 2, tmp_path, str(tmp_path / "c"))) == {True}


def _saved_by_the_clock(rank: int, directory: str) -> bool:
    saving = th.callbacks.ModelCheckpoint(directory, train_time_interval=timedelta(0), save_top_k=-1)

    class Enough(th.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = bool(saving.best_model_path)

    quiet = {**QUIET, "enable_checkpointing": None}
    trainer = th.Trainer(**quiet, max_epochs=100_000, callbacks=[Enough(), saving])
    trainer.fit(Net(), shuffled(regression(32), batch_size=4))
    return os.path.exists(saving.best_model_path)
