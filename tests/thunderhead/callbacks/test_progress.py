"""Progress as people see it: lines in a log, a bar on a terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import LineProgress, TerminalProgress, TQDMProgressBar
from thunderhead.callbacks.progress import print_results


class Timed(th.Callback):
    """A clock that training and validation move: so many seconds per batch."""

    def __init__(self, train: float = 1.0, validate: float = 100.0) -> None:
        self.now, self.train, self.validate = 0.0, train, validate

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def on_train_batch_start(self, *args: Any) -> None:
        """A batch takes its time."""
        self.now += self.train

    def on_validation_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """The same."""
        self.now += self.validate


def fit(progress: th.Callback, clock: Timed | None = None, **arguments: Any) -> None:
    quiet = {name: value for name, value in QUIET.items() if name != "enable_progress_bar"}
    torch.manual_seed(0)
    th.Trainer(**quiet, **{"max_epochs": 1, **arguments}, callbacks=[*([clock] if clock else []), progress]).fit(
        Net(), shuffled(), in_order()
    )


def test_a_line_per_interval() -> None:
    stream = io.StringIO()
    clock = Timed()
    fit(LineProgress(interval_s=2.0, stream=stream, clock=clock), clock, limit_val_batches=0)
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
    clock = Timed()
    fit(TerminalProgress(stream=stream, clock=clock), clock, max_epochs=2, limit_val_batches=0)
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert "[====                ] epoch 0  batch 1/5" in text
    assert "[====================] epoch 1  batch 5/5" in text


def rates(stream: io.StringIO) -> list[str]:
    """The rates that were shown, in order."""
    return re.findall(r"(\S+) steps/s", stream.getvalue())


@pytest.mark.parametrize(
    ("seconds", "arguments", "shown"),
    [
        # Five batches an epoch, each drawn, and the frame that is left.
        (0.5, {}, ["2.0"] * 12),
        # Steps after batches 4 and 5: none yet, then those of the epoch so far; the next epoch begins with that rate.
        (0.5, {"accumulate_grad_batches": 4}, [*["0.0"] * 3, "0.5", "0.8", "0.8", *["0.8"] * 3, "0.5", "0.8", "0.8"]),
        (20.0, {}, ["0.05"] * 12),
        # Validation after the second and fourth batch, at 100 s a batch, is no training.
        (0.5, {"val_check_interval": 2, "limit_val_batches": 2}, ["2.0"] * 12),
    ],
)
def test_the_rate_is_that_of_the_epochs_training(seconds: float, arguments: dict[str, Any], shown: list[str]) -> None:
    stream, clock = io.StringIO(), Timed(seconds)
    options = {"limit_val_batches": 0, "num_sanity_val_steps": 2, **arguments}
    fit(TerminalProgress(stream=stream, clock=clock), clock, max_epochs=2, **options)
    assert rates(stream) == shown


@pytest.mark.parametrize("kind", [LineProgress, TQDMProgressBar])
def test_lines_have_the_epochs_rate_too(kind: Any) -> None:
    stream, clock = io.StringIO(), Timed(0.5)
    bar = kind(interval_s=1.0, stream=stream, clock=clock)
    fit(bar, clock, accumulate_grad_batches=2, val_check_interval=2, limit_val_batches=1)
    assert set(rates(stream)) <= {"1.0", "1.2"}
    assert rates(stream)


def test_a_bar_that_is_off() -> None:
    stream = io.StringIO()
    fit(TerminalProgress(refresh_rate=0, stream=stream, clock=Timed()))
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
