"""When ModelCheckpoint saves in a real run, when it does not, and what it may remove."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, trainer
from trainer_models import QUIET

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint


class Scored(Line):
    """Each validation scores the number of steps done, under its own name; training logs another."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Log."""
        self.log("train_score", float(self.global_step))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log."""
        self.log("score", float(self.global_step))


class Failing(Scored):
    """Fails in validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Fail."""
        raise ZeroDivisionError


def saved(directory: Path, options: dict[str, Any], **arguments: Any) -> list[str]:
    """Names of the files of a run of two epochs of four batches, all kept, in the order of their steps."""
    options = {"save_top_k": -1, "filename": "{epoch}-{step}", **options}
    callback = ModelCheckpoint(directory, **options)
    quiet = {**QUIET, "enable_checkpointing": None, "max_epochs": 2, **arguments}
    th.Trainer(**quiet, callbacks=[callback]).fit(Scored(), numbers(1, 2, 3, 4), numbers(0))
    return sorted(path.stem for path in directory.glob("*.ckpt"))


AT_EPOCHS = ["epoch=0-step=4", "epoch=1-step=8"]
AT_VALIDATIONS = ["epoch=0-step=2", "epoch=0-step=4", "epoch=1-step=6", "epoch=1-step=8"]


@pytest.mark.parametrize(
    ("options", "arguments", "files"),
    [
        ({}, {"val_check_interval": 2}, AT_VALIDATIONS),
        ({"save_on_train_epoch_end": True}, {"val_check_interval": 2}, AT_EPOCHS),
        ({"save_on_train_epoch_end": False}, {"val_check_interval": 2}, AT_VALIDATIONS),
        ({"save_on_train_epoch_end": False}, {"limit_val_batches": 0}, []),
        ({"save_on_train_epoch_end": True}, {"check_val_every_n_epoch": 2}, AT_EPOCHS),
        ({"save_on_train_epoch_end": False}, {"check_val_every_n_epoch": 2}, AT_EPOCHS[1:]),
        ({}, {"val_check_interval": timedelta(0)}, [f"epoch={(n - 1) // 4}-step={n}" for n in range(1, 9)]),
        ({"every_n_epochs": 0}, {}, []),
        ({"every_n_train_steps": 0, "every_n_epochs": 2}, {}, AT_EPOCHS[1:]),
        # At step 3 there is no score yet; at the validation after step 4 there is. Step 6 has the one of step 4.
        ({"every_n_train_steps": 3, "monitor": "score"}, {}, ["epoch=0-step=4", "epoch=1-step=6"]),
        ({"every_n_train_steps": 3, "monitor": "train_score"}, {}, ["epoch=0-step=3", "epoch=1-step=6"]),
    ],
)
def test_moments(tmp_path: Path, options: dict[str, Any], arguments: dict[str, Any], files: list[str]) -> None:
    assert saved(tmp_path / "c", options, **arguments) == files


def test_a_saved_step_is_not_saved_again(tmp_path: Path) -> None:
    """The last validation of the first epoch comes after the step that was saved in it."""

    class Counting(ModelCheckpoint):
        saves: list[int] = []  # noqa: RUF012 - looked at by the test

        def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
            self.saves.append(trainer.global_step)
            super()._save_checkpoint(trainer, filepath)

    callback = Counting(tmp_path, save_top_k=-1)
    made = th.Trainer(**{**QUIET, "enable_checkpointing": None, "max_epochs": 3}, callbacks=[callback])

    class Skipping(Scored):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if self.current_epoch == 1 else None

    made.fit(Skipping(), numbers(1, 2), numbers(0))
    assert Counting.saves == [2, 4]


@pytest.mark.parametrize("fails", [False, True])
def test_only_fit_saves(tmp_path: Path, fails: bool) -> None:
    quiet = {**QUIET, "enable_checkpointing": None, "max_epochs": 1}
    callback = ModelCheckpoint(tmp_path / "c", save_on_train_epoch_end=False, save_last=True, save_on_exception=True)
    made = th.Trainer(**quiet, callbacks=[callback])
    made.fit(Scored(), numbers(1), numbers(0))
    before = sorted((tmp_path / "c").iterdir())
    made._training.position.step += 1  # nothing but the entry point keeps it from saving
    with pytest.raises(ZeroDivisionError) if fails else nullcontext():
        made.validate(Failing() if fails else Scored(), numbers(0), verbose=False)
    assert sorted((tmp_path / "c").iterdir()) == before


def test_the_sanity_check_saves_nothing(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looking(Scored):
        def on_train_start(self) -> None:
            seen.append((tmp_path / "c").exists())
            self.trainer.should_stop = True

    saved_callback = ModelCheckpoint(tmp_path / "c", save_on_train_epoch_end=False)
    made = trainer(saved_callback, enable_checkpointing=None)
    made._training.position.step = 3
    made.fit(Looking(), numbers(1), numbers(0))
    assert seen == [False]


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    """A better one replaces the kept one, unless that lies elsewhere."""
    elsewhere = tmp_path / "elsewhere.ckpt"
    elsewhere.write_text("kept")
    callback = ModelCheckpoint(tmp_path / "c", monitor="score", mode="max")

    class Planting(Scored):
        def on_train_start(self) -> None:
            score = torch.tensor(0.5)
            callback.best_k_models = {str(elsewhere): score}
            callback.kth_best_model_path, callback.best_model_path = str(elsewhere), str(elsewhere)

    trainer(callback, enable_checkpointing=None).fit(Planting(), numbers(1), numbers(0))
    assert elsewhere.read_text() == "kept"
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["epoch=0-step=1.ckpt"]


def test_parts_of_names_are_class_attributes(tmp_path: Path) -> None:
    class Own(ModelCheckpoint):
        CHECKPOINT_JOIN_CHAR = "_"
        CHECKPOINT_EQUALS_CHAR = ":"
        CHECKPOINT_NAME_LAST = "newest-{epoch}"
        FILE_EXTENSION = ".pt"
        STARTING_VERSION = 7

    (tmp_path / "epoch:0_step:2.pt").write_text("there already")
    callback = Own(tmp_path, save_last=True)
    with pytest.warns(UserWarning, match="exists and is not empty"):
        trainer(callback, enable_checkpointing=None).fit(Scored(), numbers(1, 2))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch:0_step:2.pt", "epoch:0_step:2_v7.pt", "newest-epoch:0.pt"]
    assert callback.last_model_path == str(tmp_path / "newest-epoch:0.pt")
    assert (ModelCheckpoint.CHECKPOINT_JOIN_CHAR, ModelCheckpoint.CHECKPOINT_EQUALS_CHAR) == ("-", "=")
    assert (ModelCheckpoint.CHECKPOINT_NAME_LAST, ModelCheckpoint.FILE_EXTENSION) == ("last", ".ckpt")
    assert ModelCheckpoint.STARTING_VERSION == 1


def test_it_says_what_it_does_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for verbose in (False, True):
        caplog.clear()
        saved(tmp_path / str(verbose), {"monitor": "score", "save_top_k": 1, "verbose": verbose})
        said = [record.getMessage() for record in caplog.records if "score=" in record.getMessage()]
        assert said == (
            [
                f"score=4.00000 (best 4.00000), saving {tmp_path / 'True' / 'epoch=0-step=4.ckpt'}",
                "step 8: score=8.00000 is not in the top 1",
            ]
            if verbose
            else []
        )


def test_defaults() -> None:
    callback = ModelCheckpoint()
    assert (callback.monitor, callback.mode, callback.save_top_k, callback.every_n_epochs) == (None, "min", 1, 1)
    assert (callback.save_last, callback.save_weights_only, callback.save_on_exception) == (None, False, False)
    assert (callback.best_model_path, callback.best_model_score, callback.last_model_path) == ("", None, "")
    assert (callback.best_k_models, callback.kth_best_model_path, callback.current_score) == ({}, "", None)
    assert callback.kth_value == torch.inf
    assert ModelCheckpoint(monitor="a", mode="max").kth_value == -torch.inf
