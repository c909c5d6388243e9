"""A CSV file that is there already: gone on with by whoever does not begin anew."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.loggers import CSVLogger

METRICS = Path("runs", "one", "metrics.csv")


def rows(directory: Path) -> list[dict[str, str]]:
    with open(directory / METRICS, newline="") as stream:
        return list(csv.DictReader(stream))


def places(directory: Path) -> list[tuple[str, list[str]]]:
    """The x of each record, and what it tells."""
    return [(row["step"], [name for name, value in row.items() if value]) for row in rows(directory)]


def trainer(directory: Path, *callbacks: th.Callback, prefix: str = "", held: int = 2, **arguments: Any) -> th.Trainer:
    """As a new process would: the same version, given by name."""
    th.seed_everything(3, verbose=False)
    logger = CSVLogger(directory, "runs", "one", prefix=prefix, flush_logs_every_n_steps=held)
    return th.Trainer(**{**QUIET, "logger": logger, "log_every_n_steps": 1, **arguments}, callbacks=list(callbacks))


class Saves(th.Callback):
    """Writes a file before a step."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("prefix", ["", "of"])
@pytest.mark.parametrize("step", [1, 5, 7, 10])
def test_a_resumed_run_has_the_records_of_one_that_was_not_interrupted(tmp_path: Path, step: int, prefix: str) -> None:
    """Also where the lost run got further than the file that it left."""
    file, whole, cut = tmp_path / "a.ckpt", tmp_path / "whole", tmp_path / "cut"
    trainer(whole, prefix=prefix, max_epochs=4).fit(Net(), shuffled(), in_order())
    trainer(cut, Saves(file, step), prefix=prefix, max_epochs=3).fit(Net(), shuffled(), in_order())
    assert len(rows(cut)) < len(rows(whole))
    trainer(cut, prefix=prefix, max_epochs=4).fit(Net(), shuffled(), in_order(), ckpt_path=file)
    assert rows(cut) == rows(whole)


class Dies(Saves):
    """Leaves the file, and of its records what is on the disk by then."""

    def __init__(self, path: Path, step: int, left: Path) -> None:
        super().__init__(path, step)
        self.left = left

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        super().on_train_batch_start(trainer)
        if trainer.global_step == self.step:
            shutil.copytree(Path(trainer.logger.save_dir), self.left)


@pytest.mark.parametrize("step", [1, 7])
def test_a_run_that_is_killed_after_its_checkpoint_has_lost_no_record_of_before(tmp_path: Path, step: int) -> None:
    """Who goes on does not write them again, however many are held back."""
    file, whole, cut, left = tmp_path / "a.ckpt", tmp_path / "whole", tmp_path / "cut", tmp_path / "left"
    trainer(whole, held=100, max_epochs=2).fit(Net(), shuffled(), in_order())
    trainer(cut, Dies(file, step, left), held=100, max_epochs=2).fit(Net(), shuffled(), in_order())
    trainer(left, held=100, max_epochs=2).fit(Net(), shuffled(), in_order(), ckpt_path=file)
    assert rows(left) == rows(whole)


def test_a_file_whose_columns_have_another_order_is_gone_on_with_in_that(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.parent.mkdir(parents=True)
    path.write_text("step,b,a\n0,2.0,1.0\n")
    logger = CSVLogger(tmp_path, "runs", "one")
    logger.log_metrics({"a": 3.0, "b": 4.0}, step=1)
    logger.save()
    assert rows(tmp_path) == [{"step": "0", "b": "2.0", "a": "1.0"}, {"step": "1", "b": "4.0", "a": "3.0"}]


HOOKS = (
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_end",
    "on_train_epoch_end",
)


class SavesIn(th.Callback):
    """Writes a file the second time that a hook is called in training."""

    def __init__(self, path: Path) -> None:
        self.path, self.calls = path, 0

    def save(self, trainer: Any, *_: Any, **__: Any) -> None:
        self.calls += not trainer.sanity_checking
        if self.calls == 2:
            trainer.save_checkpoint(self.path)


class OwnAxis(Net):
    """Its losses are drawn over an x of their own."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("step", float(100 + self.trainer.global_step))
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("model", [Net, OwnAxis])
@pytest.mark.parametrize("hook", HOOKS)
def test_whatever_hook_wrote_the_file_no_record_is_lost_or_comes_twice(
    tmp_path: Path, hook: str, model: type[Net]
) -> None:
    """Also those of the step in whose midst the file was written, and those whose x a metric replaced."""
    file, whole, cut = tmp_path / "a.ckpt", tmp_path / "whole", tmp_path / "cut"
    options: dict[str, Any] = {"val_check_interval": 2}
    trainer(whole, max_epochs=3, **options).fit(model(), shuffled(), in_order())
    saves = type("Saves", (SavesIn,), {hook: SavesIn.save})(file)
    trainer(cut, saves, max_epochs=2, **options).fit(model(), shuffled(), in_order())
    trainer(cut, max_epochs=3, **options).fit(model(), shuffled(), in_order(), ckpt_path=file)
    assert places(cut) == places(whole)
    if hook != "on_train_epoch_end":  # between two epochs the random state is the reader's
        assert rows(cut) == rows(whole)


def test_an_evaluation_leaves_the_records_of_training(tmp_path: Path) -> None:
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(Net(), shuffled(), in_order())
    before = rows(tmp_path)
    trainer(tmp_path).validate(Net(), in_order(), verbose=False)
    after = rows(tmp_path)
    assert after[: len(before)] == before
    assert [bool(row["val_loss"]) for row in after[len(before) :]] == [True]


def test_a_run_from_the_beginning_replaces_them_with_a_word(tmp_path: Path) -> None:
    trainer(tmp_path, max_epochs=2).fit(Net(), shuffled(), in_order())
    again = trainer(tmp_path, max_epochs=1)
    with pytest.warns(UserWarning, match="metrics.csv holds metrics of an earlier run, which this one replaces"):
        again.fit(Net(), shuffled(), in_order())
    assert {row["epoch"] for row in rows(tmp_path)} == {"0"}


def test_what_a_crash_cut_short_is_no_record(tmp_path: Path) -> None:
    trainer(tmp_path, max_epochs=1).fit(Net(), shuffled(), in_order())
    whole = rows(tmp_path)
    text = (tmp_path / METRICS).read_text()
    (tmp_path / METRICS).write_text(text[:-4])
    trainer(tmp_path).validate(Net(), in_order(), verbose=False)
    assert rows(tmp_path)[: len(whole) - 1] == whole[:-1]
    assert len(rows(tmp_path)) == len(whole)
