"""CSV logs: what stands in metrics.csv and hparams.yaml, and in which directory."""

from __future__ import annotations

import csv
import struct
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from trainer_line import Line, numbers
from trainer_models import QUIET

import thunderhead as th
from thunderhead.loggers import CSVLogger


def records(logger: CSVLogger) -> list[dict[str, str]]:
    """Rows by column, without empty cells."""
    with Path(logger.log_dir, "metrics.csv").open(newline="") as stream:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(stream)]


@pytest.mark.parametrize(
    ("options", "directory"),
    [
        ({}, "lightning_logs/version_0"),
        ({"name": "mine"}, "mine/version_0"),
        ({"name": ""}, "version_0"),
        ({"name": None}, "version_0"),
        ({"version": 7}, "lightning_logs/version_7"),
        ({"name": "mine", "version": "first"}, "mine/first"),
    ],
)
def test_directories(tmp_path: Path, options: dict[str, Any], directory: str) -> None:
    logger = CSVLogger(tmp_path, **options)
    assert logger.log_dir == str(tmp_path / directory)
    assert (logger.save_dir, logger.name) == (str(tmp_path), options.get("name", "lightning_logs") or "")
    assert not list(tmp_path.iterdir())
    logger.log_metrics({"a": 1.0})
    logger.save()
    assert sorted(path.name for path in (tmp_path / directory).iterdir()) == ["metrics.csv"]


def test_the_next_version_is_free(tmp_path: Path) -> None:
    for name in ("version_0", "version_11", "version_2", "version_x", "other"):
        (tmp_path / "lightning_logs" / name).mkdir(parents=True)
    (tmp_path / "lightning_logs" / "version_40").touch()
    logger = CSVLogger(tmp_path)
    assert logger.version == 12
    _ = logger.experiment
    assert (logger.version, CSVLogger(tmp_path).version) == (12, 13)


def test_columns_grow_and_rows_keep_their_cells(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"b": 1.0, "a": 2.0}, step=3)
    logger.save()
    logger.log_metrics({"c": 5.0}, step=4)
    logger.log_metrics({"a": 6.0}, step=4)
    logger.save()
    assert records(logger) == [
        {"a": "2.0", "b": "1.0", "step": "3"},
        {"c": "5.0", "step": "4"},
        {"a": "6.0", "step": "4"},
    ]
    header = Path(logger.log_dir, "metrics.csv").read_text().splitlines()[0]
    assert header == "a,b,c,step"


def test_nothing_is_written_before_it_is_due(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=3)
    path = Path(logger.log_dir, "metrics.csv")
    for step in range(2):
        logger.log_metrics({"a": float(step)}, step=step)
        assert not path.exists()
    logger.log_metrics({"a": 2.0}, step=2)
    assert len(records(logger)) == 3
    logger.log_metrics({"a": 3.0}, step=3)
    assert len(records(logger)) == 3
    logger.finalize("success")
    assert [row["step"] for row in records(logger)] == ["0", "1", "2", "3"]


def test_floats_keep_their_bits(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 1e-300, 5e-324, 2.0**60 + 2.0**10, float("inf"), float("nan"), torch.tensor(0.1).item()]
    logger = CSVLogger(tmp_path)
    for value in values:
        logger.log_metrics({"a": value})
    logger.save()
    found = [float(row["a"]) for row in records(logger)]
    assert [struct.pack("d", value) for value in found] == [struct.pack("d", value) for value in values]


def test_a_prefix(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, prefix="run")
    logger.log_metrics({"a": 1.0}, step=5)
    logger.save()
    assert records(logger) == [{"run-a": "1.0", "step": "5"}]


@pytest.mark.parametrize("form", [dict, Namespace])
def test_hyperparameters(tmp_path: Path, form: Any) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_hyperparams(form(a=1, b=[1, (2.5, None)], c={"d": "e"}, f=torch.float32, g=True))
    logger.log_hyperparams({"h": 2})
    logger.save()
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {
        "a": 1,
        "b": [1, [2.5, None]],
        "c": {"d": "e"},
        "f": "torch.float32",
        "g": True,
        "h": 2,
    }


def test_whoever_writes_to_a_version_again_goes_on_with_it(tmp_path: Path) -> None:
    """Only a run that trains from the beginning replaces it."""
    for value in (1.0, 2.0):
        logger = CSVLogger(tmp_path, version=0)
        logger.log_metrics({"a": value}, step=0)
        logger.save()
    assert records(logger) == [{"a": "1.0", "step": "0"}, {"a": "2.0", "step": "0"}]


def test_only_rank_zero_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0})
    logger.log_hyperparams({"a": 1})
    logger.save()
    logger.finalize("success")
    assert logger.experiment is None
    assert not list(tmp_path.iterdir())


class Logging(Line):
    """Logs per step and per epoch, and has hyperparameters."""

    def __init__(self, width: int = 3, kept: bool = True) -> None:
        super().__init__()
        self.save_hyperparameters(logger=kept)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """What it was fed."""
        self.log("fed", batch[0].mean(), on_step=True, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """What it was fed."""
        self.log("val", batch[0].mean())


def fit(module: Logging, logger: Any, **arguments: Any) -> th.Trainer:
    """Two epochs of three batches, logging every second step."""
    options = {**QUIET, "max_epochs": 2, "log_every_n_steps": 2, **arguments}
    trainer = th.Trainer(**{**options, "logger": logger})
    trainer.fit(module, numbers(1, 2, 6), numbers(5, 7))
    return trainer


def test_a_run(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    trainer = fit(Logging(), logger)
    assert records(logger) == [
        {"epoch": "0", "fed_step": "2.0", "step": "1"},
        {"epoch": "0", "val": "6.0", "step": "2"},
        {"epoch": "0", "fed_epoch": "3.0", "step": "2"},
        {"epoch": "1", "fed_step": "1.0", "step": "3"},
        {"epoch": "1", "fed_step": "6.0", "step": "5"},
        {"epoch": "1", "val": "6.0", "step": "5"},
        {"epoch": "1", "fed_epoch": "3.0", "step": "5"},
    ]
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {"kept": True, "width": 3}
    assert trainer.log_dir == logger.log_dir


@pytest.mark.parametrize(
    ("module", "arguments"),
    [(Logging(kept=False), {}), (Logging(), {"enable_autolog_hparams": False})],
)
def test_hyperparameters_are_kept_back_on_request(tmp_path: Path, module: Any, arguments: dict[str, Any]) -> None:
    logger = CSVLogger(tmp_path)
    fit(module, logger, **arguments)
    assert not Path(logger.log_dir, "hparams.yaml").exists()


def test_several_loggers_get_the_same(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path / "a"), CSVLogger(tmp_path / "b", name="other")]
    trainer = fit(Logging(), loggers)
    assert records(loggers[0]) == records(loggers[1])
    assert trainer.logger is loggers[0]


def test_a_run_that_fails_keeps_what_was_logged(tmp_path: Path) -> None:
    class Failing(Logging):
        def on_train_epoch_end(self) -> None:
            if self.current_epoch == 1:
                raise ZeroDivisionError

    logger = CSVLogger(tmp_path)
    with pytest.raises(ZeroDivisionError):
        fit(Failing(), logger)
    assert records(logger)[-1] == {"epoch": "1", "val": "6.0", "step": "5"}
    assert {"epoch": "1", "fed_step": "6.0", "step": "5"} in records(logger)


@pytest.mark.parametrize("given", [None, True])
def test_without_tensorboard_it_is_the_default_under_the_root(
    tmp_path: Path, given: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thunderhead.trainer.assembly.find_spec", lambda name: None)
    trainer = fit(Logging(), given, default_root_dir=tmp_path)
    assert isinstance(trainer.logger, CSVLogger)
    assert trainer.logger.log_dir == str(tmp_path / "lightning_logs" / "version_0")
