"""A run that cannot write its files is refused before it prepares anything, by the argument that decides where."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainer_line import Line, numbers
from trainer_models import QUIET

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from thunderhead.loggers import CSVLogger, Logger, TensorBoardLogger


class Prepared(Line):
    """Says whether anything was begun."""

    begun = False

    def prepare_data(self) -> None:
        """The first hook that may take long."""
        self.begun = True


Arguments = Callable[[str], dict[str, Any]]


def by_callback(kind: Any, **options: Any) -> Arguments:
    """A fit without a logger and with this callback."""
    return lambda at: {"callbacks": kind(dirpath=at, **options), "logger": False, "enable_checkpointing": True}


@pytest.mark.parametrize(
    ("arguments", "argument", "content"),
    [
        (by_callback(ModelCheckpoint), "ModelCheckpoint(dirpath='{at}')", "checkpoints"),
        (by_callback(ModelCheckpoint, save_top_k=0, save_last=True), "ModelCheckpoint(dirpath='{at}')", "checkpoints"),
        (by_callback(OnExceptionCheckpoint), "OnExceptionCheckpoint(dirpath='{at}')", "checkpoints"),
        (lambda at: {"default_root_dir": at}, "Trainer(default_root_dir='{at}')", "checkpoints"),
        (lambda at: {"default_root_dir": at, "logger": True}, "Trainer(default_root_dir='{at}')", "logs"),
        (lambda at: {"logger": CSVLogger(at)}, "CSVLogger(save_dir='{at}')", "logs"),
        (lambda at: {"logger": TensorBoardLogger(at)}, "TensorBoardLogger(save_dir='{at}')", "logs"),
    ],
)
@pytest.mark.parametrize("below", ["file", "file/sub"])
def test_refused_before_anything_begins(
    tmp_path: Path, arguments: Arguments, argument: str, content: str, below: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    at, module = str(tmp_path / below), Prepared()
    trainer = th.Trainer(**{**QUIET, "max_epochs": 1, "enable_checkpointing": None, **arguments(at)})
    said = f"{argument.format(at=at)}: {content} cannot be written: '{tmp_path}/file' is a file, not a directory"
    with pytest.raises(NotADirectoryError, match=re.escape(said)) as caught:
        trainer.fit(module, numbers(1))
    assert not module.begun
    assert not hasattr(caught.value, "__notes__")


def test_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc")
    trainer = th.Trainer(**{**QUIET, "max_epochs": 1, "enable_checkpointing": None})
    with pytest.raises(OSError, match=r"^the working directory, since Trainer\(default_root_dir=...\) is not given: "):
        trainer.fit(Line(), numbers(1))


@pytest.mark.parametrize(
    "arguments",
    [
        by_callback(ModelCheckpoint, save_top_k=0),
        lambda at: {**by_callback(ModelCheckpoint)(at), "fast_dev_run": True},
        lambda at: {"default_root_dir": at, "logger": False, "enable_checkpointing": False},
    ],
)
def test_what_writes_nothing_is_not_asked(tmp_path: Path, arguments: Arguments) -> None:
    (tmp_path / "file").touch()
    trainer = th.Trainer(**{**QUIET, "max_epochs": 1, **arguments(str(tmp_path / "file"))})
    trainer.fit(Line(), numbers(1))
    assert trainer.global_step == 1


@pytest.mark.parametrize("logger", [CSVLogger, TensorBoardLogger])
def test_evaluation_writes_logs_and_no_checkpoints(tmp_path: Path, logger: Any) -> None:
    (tmp_path / "file").touch()
    arguments = {**QUIET, "callbacks": ModelCheckpoint(tmp_path / "file"), "enable_checkpointing": True}
    th.Trainer(**arguments).validate(Line(), numbers(1))
    with pytest.raises(NotADirectoryError, match=rf"^{logger.__name__}\(save_dir="):
        th.Trainer(**{**arguments, "logger": logger(tmp_path / "file")}).validate(Line(), numbers(1))


def test_a_run_that_was_refused_leaves_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trainer = th.Trainer(**{
        **QUIET,
        "callbacks": ModelCheckpoint(tmp_path / "file"),
        "logger": CSVLogger(tmp_path / "logs"),
        "enable_checkpointing": True,
        "max_epochs": 1,
    })  # fmt: skip
    with pytest.raises(NotADirectoryError):
        trainer.fit(Line(), numbers(1))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def no_space(*_: Any) -> None:
    """What a full disk says."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (by_callback(ModelCheckpoint), r"ModelCheckpoint\(dirpath='.*'\): checkpoints cannot be written: no space"),
        (lambda at: {"logger": CSVLogger(at)}, r"CSVLogger\(save_dir='.*'\): logs cannot be written: no space is left"),
    ],
)
def test_a_disk_that_fills_up_later_is_explained_too(
    tmp_path: Path, arguments: Arguments, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thunderhead.files.places.LocalFiles.write", no_space)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 1, "log_every_n_steps": 1, **arguments(str(tmp_path / "there"))})
    with pytest.raises(OSError, match=said) as caught:
        trainer.fit(Logging(), numbers(1))
    assert caught.value.errno == errno.ENOSPC


class Logging(Line):
    """Has something to write."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Log the loss."""
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss)
        return loss


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda at: th.Trainer(default_root_dir=at), "default_root_dir"),
        (CSVLogger, "CSVLogger: save_dir"),
        (TensorBoardLogger, "TensorBoardLogger: save_dir"),
        (OnExceptionCheckpoint, "OnExceptionCheckpoint: dirpath"),
    ],
)
@pytest.mark.parametrize("given", [3, b"bytes", ["a"]])
def test_what_is_no_path(make: Callable[[Any], Any], name: str, given: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}={re.escape(repr(given))} must be a directory or URL, as str or"):
        make(given)


class Elsewhere(Logger):
    """Of somebody else, who writes paths as Path."""

    name = "elsewhere"
    version = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def save_dir(self) -> Any:
        """Not text."""
        return self.folder

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Nothing to keep."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to keep."""


def test_a_logger_may_say_its_directory_as_a_path(tmp_path: Path) -> None:
    made = th.Trainer(
        **{
            **QUIET,
            "logger": Elsewhere(tmp_path),
            "enable_checkpointing": True,
            "max_epochs": 1,
            "log_every_n_steps": 1,
        }
    )
    made.fit(Line(), numbers(1))
    assert Path(made.checkpoint_callback.best_model_path).is_relative_to(tmp_path / "elsewhere")
