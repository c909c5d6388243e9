"""Which files ModelCheckpoint writes, names, keeps and removes."""

from __future__ import annotations

import math
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils.data import DataLoader
from trainer_models import QUIET, regression

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint
from thunderhead.loggers import CSVLogger

SCORES = [5.0, 3.0, 4.0, math.nan, 2.0, 6.0]


class Scored(th.LightningModule):
    """Three steps per epoch; each validation gives the next of SCORES."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.validations = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Any loss."""
        loss = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The score, under two names."""
        self.log("score", SCORES[self.validations % len(SCORES)])
        self.log("val/score", SCORES[self.validations % len(SCORES)])

    def on_validation_end(self) -> None:
        """Count validations that are not sanity checks."""
        self.validations += not self.trainer.sanity_checking

    def configure_optimizers(self) -> Any:
        """SGD."""
        return torch.optim.SGD(self.parameters(), 0.01)

    def train_dataloader(self) -> Any:
        """Three batches."""
        return DataLoader(regression(24), batch_size=8)

    def val_dataloader(self) -> Any:
        """One batch."""
        return DataLoader(regression(8), batch_size=8)


def fit(directory: Path, options: dict[str, Any], **arguments: Any) -> tuple[ModelCheckpoint, list[str]]:
    """Train six epochs; the callback, and the files there are."""
    callback = ModelCheckpoint(directory, **options)
    quiet = {**QUIET, "enable_checkpointing": None, "max_epochs": 6, **arguments}
    th.Trainer(**quiet, callbacks=[callback]).fit(Scored())
    files = [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]
    return callback, sorted(files, key=lambda name: (len(name), name))


@pytest.mark.parametrize(
    ("options", "arguments", "files"),
    [
        ({}, {}, ["epoch=5-step=18.ckpt"]),
        ({"monitor": "score"}, {}, ["epoch=4-step=15.ckpt"]),
        ({"monitor": "score", "mode": "max"}, {}, ["epoch=5-step=18.ckpt"]),
        ({"monitor": "score", "save_top_k": 2}, {}, ["epoch=1-step=6.ckpt", "epoch=4-step=15.ckpt"]),
        ({"save_top_k": 0}, {}, []),
        ({"save_top_k": -1}, {"max_epochs": 3}, ["epoch=0-step=3.ckpt", "epoch=1-step=6.ckpt", "epoch=2-step=9.ckpt"]),
        ({"every_n_epochs": 2, "save_top_k": -1}, {"max_epochs": 4}, ["epoch=1-step=6.ckpt", "epoch=3-step=12.ckpt"]),
        ({"every_n_train_steps": 2, "save_top_k": -1}, {"max_steps": 5, "max_epochs": -1}, [
            "epoch=0-step=2.ckpt",
            "epoch=1-step=4.ckpt",
        ]),
        ({"train_time_interval": timedelta(0), "save_top_k": -1}, {"max_epochs": 1}, [
            "epoch=0-step=1.ckpt",
            "epoch=0-step=2.ckpt",
            "epoch=0-step=3.ckpt",
        ]),
        ({"save_top_k": -1}, {"max_epochs": 1, "val_check_interval": 1}, [
            "epoch=0-step=1.ckpt",
            "epoch=0-step=2.ckpt",
            "epoch=0-step=3.ckpt",
        ]),
        ({"save_top_k": -1}, {"max_epochs": 4, "check_val_every_n_epoch": 2}, [
            "epoch=1-step=6.ckpt",
            "epoch=3-step=12.ckpt",
        ]),
        ({"save_top_k": -1}, {"max_epochs": 2, "limit_val_batches": 0}, ["epoch=0-step=3.ckpt", "epoch=1-step=6.ckpt"]),
        ({"save_last": True}, {}, ["last.ckpt", "epoch=5-step=18.ckpt"]),
        ({"save_last": True, "save_top_k": 0}, {}, ["last.ckpt"]),
        ({}, {"fast_dev_run": True}, []),
        ({"filename": "{epoch:03d}_{step:05d}_{missing:.2f}"}, {}, ["epoch=005_step=00018_missing=0.00.ckpt"]),
        ({"filename": "a-{score:.2f}", "monitor": "score"}, {}, ["a-score=2.00.ckpt"]),
        ({"filename": "a-{val/score:.1f}", "monitor": "val/score"}, {}, ["a-val/score=2.0.ckpt"]),
        (
            {"filename": "a-{val/score:.1f}", "monitor": "val/score", "auto_insert_metric_name": False},
            {},
            ["a-2.0.ckpt"],
        ),
        ({"filename": "x", "save_top_k": -1}, {"max_epochs": 3}, ["x.ckpt", "x-v1.ckpt", "x-v2.ckpt"]),
        ({"filename": "x", "save_top_k": -1, "enable_version_counter": False}, {"max_epochs": 3}, ["x.ckpt"]),
    ],
)  # fmt: skip
def test_files(tmp_path: Path, options: dict[str, Any], arguments: dict[str, Any], files: list[str]) -> None:
    assert fit(tmp_path / "c", options, **arguments)[1] == files


def test_what_is_due_by_step_and_by_validation_is_saved_with_fresh_metrics(tmp_path: Path) -> None:
    """Every third step is an epoch's end, whose validation has not run when the step ends."""
    options = {"every_n_train_steps": 3, "monitor": "score", "save_top_k": -1, "filename": "{step}-{score:.0f}"}
    assert fit(tmp_path, options, max_epochs=3)[1] == [
        "step=3-score=5.ckpt",
        "step=6-score=3.ckpt",
        "step=9-score=4.ckpt",
    ]


def test_ranking(tmp_path: Path) -> None:
    callback, files = fit(tmp_path, {"monitor": "score", "save_top_k": 3, "filename": "{epoch}"})
    assert files == ["epoch=1.ckpt", "epoch=2.ckpt", "epoch=4.ckpt"]
    assert callback.best_model_path == str(tmp_path / "epoch=4.ckpt")
    assert callback.best_model_score == 2.0
    assert callback.kth_best_model_path == str(tmp_path / "epoch=2.ckpt")
    assert callback.kth_value == 4.0
    assert {Path(path).name: score.item() for path, score in callback.best_k_models.items()} == {
        "epoch=1.ckpt": 3.0,
        "epoch=2.ckpt": 4.0,
        "epoch=4.ckpt": 2.0,
    }
    callback.to_yaml(tmp_path / "elsewhere.yaml")
    callback.to_yaml()
    assert (tmp_path / "elsewhere.yaml").read_text() == (tmp_path / "best_k_models.yaml").read_text()
    assert yaml.safe_load((tmp_path / "best_k_models.yaml").read_text())[callback.best_model_path] == 2.0


def test_nan_is_the_worst(tmp_path: Path) -> None:
    callback, files = fit(tmp_path, {"monitor": "score", "save_top_k": -1, "filename": "{epoch}"}, max_epochs=4)
    assert len(files) == 4
    assert callback.best_k_models[str(tmp_path / "epoch=3.ckpt")] == math.inf


def test_a_link_to_the_newest(tmp_path: Path) -> None:
    callback, _ = fit(tmp_path, {"save_last": "link", "save_top_k": 2, "monitor": "score"}, max_epochs=3)
    last = tmp_path / "last.ckpt"
    assert last.is_symlink()
    assert os.path.realpath(last) == str(tmp_path / "epoch=2-step=9.ckpt")
    assert callback.last_model_path == str(last)


@pytest.mark.parametrize("save_last", [True, "link"])
@pytest.mark.parametrize("save_top_k", [-1, 0, 1, 2])
@pytest.mark.parametrize("scores", [[5, 4, 3, 2, 1], [1, 2, 3, 4, 5], [2, 5, 1, 4, 3]], ids=str)
def test_the_last_file_is_the_newest_state_whatever_is_kept(
    tmp_path: Path, save_last: Any, save_top_k: int, scores: list[int]
) -> None:
    seen: list[tuple[int, int]] = []

    class Ranked(Scored):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("rank", float(scores[self.global_step]))
            return self.layer(batch[0]).square().mean()

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.global_step:
                seen.append((self.global_step, torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]))

    saving = ModelCheckpoint(
        tmp_path, "{step}", monitor="rank", save_top_k=save_top_k, save_last=save_last, every_n_train_steps=1
    )
    options = {**QUIET, "enable_checkpointing": None, "max_steps": 5, "limit_val_batches": 0}
    th.Trainer(**options, callbacks=[saving]).fit(Ranked())
    assert seen == [(step, step) for step in range(1, 5)]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5
    # A link wherever the state was kept under a name of its own.
    newest = (tmp_path / "step=5.ckpt").exists()
    assert (tmp_path / "last.ckpt").is_symlink() is (save_last == "link" and newest)


def test_the_last_file_is_the_state_at_the_end_of_what_was_saved(tmp_path: Path) -> None:
    fit(tmp_path, {"save_last": True, "monitor": "score"}, max_epochs=5)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 15


def test_weights_only(tmp_path: Path) -> None:
    fit(tmp_path, {"save_weights_only": True}, max_epochs=1)
    content = torch.load(tmp_path / "epoch=0-step=3.ckpt", weights_only=True)
    assert sorted(content) == ["epoch", "global_step", "loops", "pytorch-lightning_version", "state_dict"]


def test_the_directory_is_the_loggers_then_the_trainers(tmp_path: Path) -> None:
    quiet = {**QUIET, "enable_checkpointing": None, "max_epochs": 1, "log_every_n_steps": 1}
    one = th.Trainer(**{**quiet, "logger": th.loggers.CSVLogger(tmp_path, "runs")})
    one.fit(Scored())
    assert one.checkpoint_callback.dirpath == str(tmp_path / "runs" / "version_0" / "checkpoints")
    other = th.Trainer(**quiet, default_root_dir=tmp_path)
    other.fit(Scored())
    assert other.checkpoint_callback.dirpath == str(tmp_path / "checkpoints")


def test_resuming_keeps_the_ranking_and_the_file_resumed_from(tmp_path: Path) -> None:
    """A better score after the resume removes the best file, but not where it is the one that was resumed from."""
    quiet = {**QUIET, "enable_checkpointing": None}
    first = ModelCheckpoint(tmp_path, monitor="score", filename="{epoch}")
    th.Trainer(**quiet, max_epochs=2, callbacks=[first]).fit(Scored())
    assert first.best_model_path == str(tmp_path / "epoch=1.ckpt")
    again = ModelCheckpoint(tmp_path, monitor="score", filename="{epoch}")
    trainer = th.Trainer(**quiet, max_epochs=5, callbacks=[again])
    module = Scored()
    module.validations = 2
    with pytest.warns(UserWarning, match="exists and is not empty"):
        trainer.fit(module, ckpt_path=first.best_model_path)
    assert again.best_model_path == str(tmp_path / "epoch=4.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=1.ckpt", "epoch=4.ckpt"]


def test_another_directory_keeps_only_the_best_path(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path / "new", monitor="score")
    state = ModelCheckpoint(tmp_path / "old", monitor="score").state_dict()
    state.update(best_model_path="old/best.ckpt", best_k_models={"old/best.ckpt": torch.tensor(1.0)})
    with pytest.warns(UserWarning, match="dirpath changed"):
        callback.load_state_dict(state)
    assert (callback.best_model_path, callback.best_k_models) == ("old/best.ckpt", {})


def test_a_pods_own_directory_changes_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thunderhead.callbacks.model_checkpoint.attached", object)
    callback = ModelCheckpoint(monitor="score")
    callback.dirpath = str(tmp_path / "second pod")
    callback.load_state_dict(ModelCheckpoint(tmp_path / "first pod", monitor="score").state_dict())
    with pytest.warns(UserWarning, match="dirpath changed"):
        ModelCheckpoint(tmp_path / "new").load_state_dict(ModelCheckpoint(tmp_path / "old").state_dict())


@pytest.mark.parametrize("chosen", [False, True])
def test_a_directory_in_use_is_told_unless_it_is_the_jobs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    """Each attempt of a job finds the files of those before in its own directory; that is nothing to be warned of."""
    monkeypatch.setattr("thunderhead.callbacks.model_checkpoint.attached", object)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch=0.ckpt").write_text("of the attempt before")
    callback = ModelCheckpoint(tmp_path / "checkpoints" if chosen else None, monitor="score")
    options = {**QUIET, "enable_checkpointing": None, "default_root_dir": tmp_path}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        th.Trainer(**options, callbacks=[callback]).fit(Scored())
    assert callback.dirpath == str(tmp_path / "checkpoints")
    assert any("exists and is not empty" in str(said.message) for said in caught) is chosen


def test_save_on_exception(tmp_path: Path) -> None:
    class Failing(Scored):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.global_step == 4:
                raise OSError("no more data")

    callback = ModelCheckpoint(tmp_path, save_on_exception=True, every_n_epochs=5)
    trainer = th.Trainer(**{**QUIET, "enable_checkpointing": None, "max_epochs": 3}, callbacks=[callback])
    with pytest.raises(OSError, match="no more data"):
        trainer.fit(Failing())
    assert [path.name for path in tmp_path.iterdir()] == ["epoch=1-step=4.ckpt"]


@pytest.mark.parametrize(
    ("save_last", "saved"), [(None, ["step.ckpt"]), ("link", ["step.ckpt"]), (True, ["step.ckpt", "last.ckpt"])]
)
def test_loggers_hear_of_files_saved_on_exception(tmp_path: Path, save_last: Any, saved: list[str]) -> None:
    """A logger that uploads files must have each of them before it is told that the run failed."""
    heard: list[str] = []

    class Notes(CSVLogger):
        def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
            newest = {path.name for path in (tmp_path / "files").iterdir()} - set(heard)
            heard.extend(newest)

        def finalize(self, status: str) -> None:
            heard.append(status)

    class Failing(Scored):
        def on_train_epoch_end(self) -> None:
            raise OSError("no more data")

    callback = ModelCheckpoint(tmp_path / "files", filename="step", save_on_exception=True, save_last=save_last)
    options = {**QUIET, "enable_checkpointing": None, "max_epochs": 1, "logger": Notes(tmp_path / "logs")}
    with pytest.raises(OSError, match="no more data"):
        th.Trainer(**options, log_every_n_steps=1, callbacks=[callback]).fit(Failing())
    assert heard == [*saved, "failed"]


def test_a_metric_that_never_comes(tmp_path: Path) -> None:
    with pytest.raises(th.MisconfigurationException, match=r"monitor='scor'.*Did you mean 'score'"):
        fit(tmp_path, {"monitor": "scor"}, max_epochs=1)


def test_state_key_tells_callbacks_apart() -> None:
    assert ModelCheckpoint(monitor="a").state_key == (
        "ModelCheckpoint{'monitor': 'a', 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
        "'train_time_interval': None}"
    )
