"""Progress bars: redrawn on a terminal, lines in a log, silent where asked; what they show."""

from __future__ import annotations

import io
import itertools
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import ProgressBar, RichProgressBar, RichProgressBarTheme, TQDMProgressBar
from thunderhead.callbacks.stage_bars import StageBars
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers import CSVLogger

KINDS = (TQDMProgressBar, RichProgressBar)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


class Shown(Net):
    """A module that shows its loss, always the same."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = super().training_step(batch, batch_idx)
        self.log("shown", 0.25, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("measured", 0.5, prog_bar=True)

    test_step = validation_step


def trainer(bar: th.Callback, **options: Any) -> th.Trainer:
    """A trainer with this bar."""
    return th.Trainer(**{**QUIET, "enable_progress_bar": None, "max_epochs": 2, **options}, callbacks=[bar])


def ticking(seconds: float = 1.0) -> Any:
    """A clock that goes on by so much at each look."""
    return itertools.count(0.0, seconds).__next__


def text(stream: io.StringIO) -> list[str]:
    """What stood on the screen, one entry per drawing, without control sequences."""
    unstyled = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\r", unstyled)
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm-256color")


def test_the_line_is_redrawn_with_share_count_rate_and_metrics() -> None:
    stream = Terminal()
    trainer(TQDMProgressBar(stream=stream, clock=ticking()), max_epochs=1).fit(Shown(), shuffled())
    drawn = text(stream)
    assert drawn[0].startswith("Epoch 0:  20%|██        | 1/5 [0.00it/s, shown=0.25")
    assert re.match(r"Epoch 0: 100%\|██████████\| 5/5 \[1\.00it/s, shown=0.25", drawn[-1])
    assert stream.getvalue().endswith("\n")


def test_no_more_than_ten_drawings_a_second_but_always_the_last() -> None:
    stream = Terminal()
    trainer(TQDMProgressBar(stream=stream, clock=ticking(1e-6)), max_epochs=1).fit(Shown(), shuffled())
    assert [line.split("|")[2].split()[0] for line in text(stream)] == ["1/5", "5/5", "5/5"]


@pytest.mark.parametrize(("refresh", "batches"), [(2, ["2", "4", "5", "5"]), (3, ["3", "5", "5"])])
def test_refresh_rate_counts_batches(refresh: int, batches: list[str]) -> None:
    stream = Terminal()
    trainer(TQDMProgressBar(refresh, stream=stream, clock=ticking()), max_epochs=1).fit(Shown(), shuffled())
    assert [line.split("|")[2].split("/")[0].strip() for line in text(stream)] == batches


@pytest.mark.parametrize(
    ("rate", "batches"), [(1, ["1", "5", "5"]), (2, ["1", "4", "5", "5"]), (100, ["1", "2", "3", "4", "5", "5"])]
)
def test_refresh_rate_of_rich_counts_seconds(rate: int, batches: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(RichProgressBar, "draw", lambda self, bar: drawn.append(str(bar.done)))
    moments = iter(range(1000))
    bar = RichProgressBar(rate, stream=Terminal(), clock=lambda: next(moments) * 0.2)
    trainer(bar, max_epochs=1).fit(Shown(), shuffled())
    assert drawn == batches


@pytest.mark.parametrize(("leave", "lines"), [(True, 2), (False, 1)])
def test_leave_keeps_the_bar_of_each_epoch(leave: bool, lines: int) -> None:
    stream = Terminal()
    trainer(TQDMProgressBar(leave=leave, stream=stream, clock=ticking())).fit(Shown(), shuffled())
    assert stream.getvalue().count("\n") == lines


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_has_a_bar(kind: type[StageBars]) -> None:
    stream = Terminal()
    made = trainer(kind(stream=stream, clock=ticking()), max_epochs=1)  # type: ignore[call-arg]  # both take these
    made.fit(Shown(), shuffled(), in_order())
    made.validate(made.lightning_module, in_order(), verbose=False)
    made.test(made.lightning_module, [in_order(), in_order()], verbose=False)
    drawn = "\n".join(text(stream))
    for title in ("Sanity check", "Epoch 0", "Validation", "Testing (loader 0)", "Testing (loader 1)"):
        assert title in drawn
    assert "measured" in drawn


def test_the_training_bar_goes_on_after_validation() -> None:
    stream = Terminal()
    made = trainer(TQDMProgressBar(stream=stream, clock=ticking()), max_epochs=1, val_check_interval=2)
    made.fit(Shown(), shuffled(), in_order())
    titles = [key for key, _ in itertools.groupby(line.split(":")[0] for line in text(stream))]
    assert titles == ["Sanity check", *["Epoch 0", "Validation"] * 2, "Epoch 0"]
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_lines_where_there_is_no_terminal(kind: type[StageBars]) -> None:
    stream = io.StringIO()
    bar = kind(interval_s=3.0, stream=stream, clock=ticking())  # type: ignore[call-arg]  # both take these
    made = trainer(bar, num_sanity_val_steps=0)
    made.fit(Shown(), shuffled(), in_order())
    assert "\x1b" not in stream.getvalue()
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"epoch 0  batch 3/5  step 3  \d+\.\d steps/s  shown 0.25", lines[0])
    assert [line for line in lines if "validated" in line] == [
        "epoch 0  step 5  validated  shown 0.25  measured 0.5",
        "epoch 1  step 10  validated  shown 0.25  measured 0.5",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_refresh_rate_of_zero_shows_nothing(kind: type[StageBars]) -> None:
    for stream in (Terminal(), io.StringIO()):
        bar = kind(0, stream=stream)
        trainer(bar, max_epochs=1).fit(Shown(), shuffled(), in_order())
        assert stream.getvalue() == ""
        assert bar.is_disabled


def test_disabled_and_enabled_again() -> None:
    stream = Terminal()
    bar = TQDMProgressBar(stream=stream, clock=ticking())
    bar.disable()
    trainer(bar, max_epochs=1).fit(Shown(), shuffled())
    assert stream.getvalue() == ""
    bar.enable()
    trainer(bar, max_epochs=1).fit(Shown(), shuffled())
    assert "Epoch 0" in stream.getvalue()


def test_v_num_and_overridden_metrics(tmp_path: Any) -> None:
    class Own(TQDMProgressBar):
        def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
            shown = super().get_metrics(trainer, pl_module)
            return {**shown, "mine": "yes"}

    stream = Terminal()
    options: dict[str, Any] = {"max_epochs": 1, "log_every_n_steps": 1, "logger": CSVLogger(tmp_path, version=7)}
    trainer(Own(stream=stream, clock=ticking()), **options).fit(Shown(), shuffled())
    assert ", v_num=7, shown=0.25, mine=yes]" in text(stream)[-1]


def test_printing_does_not_tear_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    bar = TQDMProgressBar(stream=stream, clock=ticking())

    class Talks(Shown):
        def on_train_batch_end(self, *args: Any) -> None:
            if self.global_step == 3:
                bar.print("three")

    trainer(bar, max_epochs=1).fit(Talks(), shuffled())
    assert capsys.readouterr().out == "three\n"
    assert "\x1b[2K\r\x1b[2KEpoch" in stream.getvalue()


def test_an_exception_leaves_the_cursor_on_a_line_of_its_own() -> None:
    class Fails(Shown):
        def on_train_batch_end(self, *args: Any) -> None:
            if self.global_step == 3:
                raise OSError("lost")

    for kind in KINDS:
        stream = Terminal()
        with pytest.raises(OSError, match="lost"):
            trainer(kind(stream=stream, clock=ticking())).fit(Fails(), shuffled())
        assert "\n" in stream.getvalue()


def test_rich_draws_epochs_one_after_the_other_and_formats_by_its_theme() -> None:
    stream = Terminal()
    theme = RichProgressBarTheme(metrics_format=".1e", metrics_text_delimiter=" · ")
    bar = RichProgressBar(theme=theme, stream=stream, clock=ticking(), console_kwargs={"width": 150})
    trainer(bar).fit(Shown(), shuffled())
    drawn = text(stream)
    assert any("Epoch 0" in line and "5/5" in line for line in drawn)
    assert "Epoch 1" in drawn[-1]
    assert not any("Epoch 0" in line for line in drawn[-2:])
    assert "shown: 2.5e-01" in drawn[-1]
    assert "\x1b[?25h" in stream.getvalue()  # the cursor is shown again


def test_rich_takes_the_validation_bar_away() -> None:
    stream = Terminal()
    made = trainer(RichProgressBar(stream=stream, clock=ticking()), max_epochs=1, val_check_interval=2)
    made.fit(Shown(), shuffled(), in_order())
    drawn = text(stream)
    last = next(index for index, line in enumerate(drawn) if "5/5" in line)
    assert any("Validation" in line for line in drawn[:last])
    assert not any("Validation" in line for line in drawn[last:])


def test_an_unknown_length_has_no_share() -> None:
    stream = Terminal()
    trainer(TQDMProgressBar(stream=stream, clock=ticking()), max_epochs=1).fit(Shown(), (b for b in list(shuffled())))
    assert text(stream)[-1].startswith("Epoch 0: 5 [")


def test_arguments() -> None:
    with pytest.raises(MisconfigurationException, match="refresh_rate=-1 must be an integer of at least 0"):
        TQDMProgressBar(-1)
    with pytest.warns(UserWarning, match="process_position=2 does nothing"):
        TQDMProgressBar(process_position=2)
    assert issubclass(TQDMProgressBar, ProgressBar)
    with pytest.raises(MisconfigurationException, match="2 progress bars"):
        th.Trainer(callbacks=[TQDMProgressBar(), RichProgressBar()])


class Worded:
    """Words and totals of one's own."""

    train_description = "Round"
    validation_description = "Check"
    test_description = "Exam"
    total_train_batches = 7


@pytest.mark.parametrize("kind", KINDS)
def test_words_and_totals_can_be_overridden(kind: type[StageBars]) -> None:
    made = type("Mine", (Worded, kind), {})
    stream = Terminal()
    run = trainer(made(stream=stream, clock=ticking()), max_epochs=2)
    run.fit(Shown(), shuffled(), in_order())
    run.test(Shown(), in_order(), verbose=False)
    lines = "\n".join(text(stream))
    assert set(re.findall(r"Round \d|Check|Exam|Epoch|Validation|Testing", lines)) == {
        "Round 0",
        "Round 1",
        "Check",
        "Exam",
    }
    assert re.search(r"Round 1.* 1/7 ", lines)


class Looking(ProgressBar):
    """Notes at each moment what it could show."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Note."""
        self.seen.append(("train", self.total_train_batches, self.total_val_batches))

    def on_validation_batch_end(self, *args: Any, dataloader_idx: int = 0) -> None:
        """Note."""
        changed = self.has_dataloader_changed(dataloader_idx)
        kind = "sanity" if self.trainer.sanity_checking else "validation"
        self.seen.append((kind, self.total_val_batches_current_dataloader, changed))

    def on_sanity_check_end(self, *args: Any) -> None:
        """Begin anew."""
        self.reset_dataloader_idx_tracker()

    def on_test_batch_end(self, *args: Any) -> None:
        """Note."""
        self.seen.append(("test", self.total_test_batches_current_dataloader))

    def on_predict_batch_end(self, *args: Any) -> None:
        """Note."""
        self.seen.append(("predict", self.total_predict_batches_current_dataloader))


def test_totals() -> None:
    bar = Looking()
    assert (bar.is_enabled, bar.is_disabled) == (True, False)
    bar.disable()
    assert (bar.is_enabled, bar.is_disabled) == (False, True)
    with pytest.raises(TypeError, match="Looking has no trainer before a run begins"):
        _ = bar.total_train_batches
    run = trainer(
        bar,
        limit_train_batches=2,
        limit_val_batches=2,
        limit_test_batches=1,
        limit_predict_batches=1,
        num_sanity_val_steps=1,
        check_val_every_n_epoch=2,
    )
    run.fit(Shown(), shuffled(), in_order())
    epoch = [("train", 2, 0), ("train", 2, 0), ("train", 2, 2), ("train", 2, 2)]
    checks = [("validation", 2, True), ("validation", 2, False)]
    assert bar.seen == [("sanity", 1, True), *epoch, *checks]
    bar.seen.clear()
    run.test(Shown(), in_order(), verbose=False)
    run.predict(Shown(), torch.utils.data.DataLoader(torch.zeros(3, 4)))
    assert bar.seen == [("test", 1), ("predict", 1)]


def test_steps_end_the_last_epoch_of_an_endless_run_early() -> None:
    bar = Looking()
    trainer(bar, max_epochs=-1, max_steps=3, limit_train_batches=2).fit(Shown(), shuffled())
    assert [total for kind, total, _ in bar.seen if kind == "train"] == [2, 2, 1]


def test_rich_columns_know_the_trainer() -> None:
    class Mine(RichProgressBar):
        def configure_columns(self, trainer: th.Trainer) -> list[Any]:
            self.epochs = trainer.max_epochs
            return super().configure_columns(trainer)

    bar = Mine(stream=Terminal(), clock=ticking())
    trainer(bar, max_epochs=2).fit(Shown(), shuffled())
    assert bar.epochs == 2
