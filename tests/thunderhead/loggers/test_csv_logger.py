"""Metrics in a CSV file."""

from __future__ import annotations

import csv
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.loggers import CSVLogger


def rows(logger: CSVLogger) -> list[dict[str, str]]:
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_floats_keep_their_bits(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    values = [0.1, 1 / 3, 1e-300, -0.0, 2.0**-149, math.inf]
    for step, value in enumerate(values):
        logger.log_metrics({"a": value}, step)
    logger.log_metrics({"a": math.nan}, 99)
    logger.finalize("success")
    found = rows(logger)
    assert [float(row["a"]).hex() for row in found[:-1]] == [value.hex() for value in values]
    assert math.isnan(float(found[-1]["a"]))
    assert [row["step"] for row in found] == ["0", "1", "2", "3", "4", "5", "99"]


def test_columns_may_come_later(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_metrics({"b": 2.0}, 1)
    logger.log_metrics({"a": 3.0}, 2)
    assert rows(logger) == [
        {"a": "1.0", "b": "", "step": "0"},
        {"a": "", "b": "2.0", "step": "1"},
        {"a": "3.0", "b": "", "step": "2"},
    ]


def test_records_are_held_back(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=3)
    for step in range(2):
        logger.log_metrics({"a": 1.0}, step)
    assert not (Path(logger.log_dir) / "metrics.csv").exists()
    logger.log_metrics({"a": 1.0}, 2)
    assert len(rows(logger)) == 3


@pytest.mark.parametrize(
    ("params", "written"),
    [
        ({"lr": 0.1, "layers": [1, 2]}, {"lr": 0.1, "layers": [1, 2]}),
        (Namespace(a=1), {"a": 1}),
        ({"path": Path("x"), "pair": (1, 2)}, {"path": repr(Path("x")), "pair": [1, 2]}),
    ],
)
def test_hyperparameters(tmp_path: Path, params: Any, written: dict[str, Any]) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_hyperparams(params)
    logger.save()
    assert yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text()) == written


def test_versions_count_up(tmp_path: Path) -> None:
    for expected in (0, 1, 2):
        logger = CSVLogger(tmp_path, "runs")
        assert (logger.version, logger.name, logger.save_dir) == (expected, "runs", str(tmp_path))
        assert logger.log_dir == str(tmp_path / "runs" / f"version_{expected}")
        logger.log_metrics({"a": 1.0})
    (tmp_path / "runs" / "version_10").mkdir()
    (tmp_path / "runs" / "version_x").mkdir()
    assert CSVLogger(tmp_path, "runs").version == 11
    assert CSVLogger(tmp_path, "", version="final").log_dir == str(tmp_path / "final")


def test_a_prefix(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, prefix="run")
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    assert sorted(rows(logger)[0]) == ["run-a", "step"]


def test_only_rank_0_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_hyperparams({"a": 1})
    logger.finalize("success")
    assert logger.experiment is None
    assert list(tmp_path.iterdir()) == []


def test_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default logger without TensorBoard: every step's loss, and an epoch's end after it."""
    arguments = {**QUIET, "logger": True, "log_every_n_steps": 1, "max_epochs": 2, "default_root_dir": tmp_path}
    monkeypatch.setattr("thunderhead.trainer.assembly.find_spec", lambda name: None)
    trainer = th.Trainer(**arguments)
    trainer.fit(Net(), shuffled(), in_order())
    found = rows(trainer.logger)
    assert [row["step"] for row in found if row["train_loss_step"]] == [str(n) for n in range(10)]
    assert [(row["step"], row["epoch"]) for row in found if row["train_loss_epoch"]] == [("4", "0"), ("9", "1")]
    assert [(row["step"], row["epoch"]) for row in found if row["val_loss"]] == [("4", "0"), ("9", "1")]
