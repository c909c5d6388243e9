"""Progress as people see it: lines in a log, a bar on a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import LineProgress, TerminalProgress
from thunderhead.callbacks.progress import print_results


class Ticking:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        self.now += 1.0
        return self.now


def fit(progress: th.Callback, **arguments: Any) -> None:
    quiet = {name: value for name, value in QUIET.items() if name != "enable_progress_bar"}
    torch.manual_seed(0)
    th.Trainer(**quiet, **{"max_epochs": 1, **arguments}, callbacks=[progress]).fit(Net(), shuffled(), in_order())


def test_a_line_per_interval() -> None:
    stream = io.StringIO()
    fit(LineProgress(interval_s=2.0, stream=stream, clock=Ticking()), limit_val_batches=0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 0  batch 2/5  step 2  ")
    assert "steps/s" in lines[0]
    assert lines[1].startswith("epoch 0  batch 4/5  step 4  ")
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_validation_has_a_line_with_its_metrics() -> None:
    class Shown(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_acc", 0.25, prog_bar=True)

    stream = io.StringIO()
    quiet = {name: value for name, value in QUIET.items() if name != "enable_progress_bar"}
    progress = LineProgress(interval_s=1e9, stream=stream)
    th.Trainer(**quiet, max_epochs=2, callbacks=[progress]).fit(Shown(), shuffled(), in_order())
    assert stream.getvalue().splitlines() == [
        "epoch 0  step 5  validated  val_acc 0.25",
        "epoch 1  step 10  validated  val_acc 0.25",
    ]


def test_a_bar_is_redrawn_in_place_and_left_at_the_epochs_end() -> None:
    stream = io.StringIO()
    fit(TerminalProgress(stream=stream, clock=Ticking()), max_epochs=2, limit_val_batches=0)
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert "[====                ] epoch 0  batch 1/5" in text
    assert "[====================] epoch 1  batch 5/5" in text


def test_a_bar_that_is_off() -> None:
    stream = io.StringIO()
    fit(TerminalProgress(refresh_rate=0, stream=stream, clock=Ticking()))
    assert stream.getvalue() == ""


def test_other_ranks_are_silent() -> None:
    progress = LineProgress(stream=io.StringIO())

    class Second:
        is_global_zero = False

    progress.setup(Second(), Net(), "fit")  # type: ignore[arg-type]  # all that is looked at
    assert not progress._enabled


def test_tables_of_results(capsys: pytest.CaptureFixture[str]) -> None:
    print_results([{"loss": 0.5, "acc": 1.0}], "test")
    assert capsys.readouterr().out.splitlines() == [
        "test         value",
        "loss           0.5",
        "acc              1",
    ]
    print_results([{"a": 1.0}, {"b": 2.0}], "validate")
    assert capsys.readouterr().out.splitlines()[0].split() == ["validate", "loader", "0", "loader", "1"]
    print_results([{}], "test")
    assert capsys.readouterr().out == ""
