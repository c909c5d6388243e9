"""What loggers that write files take, and how they refuse the rest."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainer_models import QUIET

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers import CSVLogger, TensorBoardLogger
from thunderhead.loggers.dummy import DummyLogger

VERSION = "must be a number from 0 or the name of a directory; None takes the next free number"
BOTH = [
    ({"name": 3}, "name=3 must be text or None"),
    ({"version": -1}, f"version=-1 {VERSION}"),
    ({"version": 1.5}, f"version=1.5 {VERSION}"),
    ({"version": True}, f"version=True {VERSION}"),
    ({"prefix": 1}, "prefix=1 must be text or None"),
]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        *((kind, *case) for kind in (CSVLogger, TensorBoardLogger) for case in BOTH),
        (CSVLogger, {"flush_logs_every_n_steps": 0}, "flush_logs_every_n_steps=0 must be an integer of at least 1"),
        (CSVLogger, {"flush_logs_every_n_steps": "3"}, "flush_logs_every_n_steps='3' must be an integer of at least 1"),
        (TensorBoardLogger, {"log_graph": "no"}, "log_graph='no' must be True or False"),
        (TensorBoardLogger, {"default_hp_metric": "yes"}, "default_hp_metric='yes' must be True or False"),
    ],
)
def test_refused(kind: Any, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=f"^{re.escape(f'{kind.__name__}: {said}')}"):
        kind(tmp_path, **options)


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
@pytest.mark.parametrize(
    ("options", "below"),
    [
        ({}, "lightning_logs/version_0"),
        ({"name": None, "version": 0, "prefix": None}, "version_0"),
        ({"name": "", "version": 7}, "version_7"),
        ({"name": "a", "version": "b"}, "a/b"),
        ({"name": "a", "version": Path("b")}, "a/b"),
        ({"name": "a", "version": np.int64(3)}, "a/version_3"),
    ],
)
def test_taken(kind: Any, options: dict[str, Any], below: str, tmp_path: Path) -> None:
    assert Path(kind(tmp_path, **options).log_dir) == tmp_path / below


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_version_may_be_a_name_and_hyperparameters_none(kind: Any, tmp_path: Path) -> None:
    logger = kind(tmp_path, name="runs", version="mine")
    logger.log_hyperparams()
    logger.log_hyperparams(None)
    logger.log_hyperparams({"lr": 1})
    logger.log_metrics({"loss": 1.0}, 0)
    logger.finalize("success")
    assert logger.log_dir == str(tmp_path / "runs" / "mine")
    assert (tmp_path / "runs" / "mine" / "hparams.yaml").read_text() == "lr: 1\n"


def test_variables_and_home_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PART", "deep")
    logger = TensorBoardLogger("~/logs", name="n", version=0, sub_dir="$PART/er")
    assert logger.log_dir == str(tmp_path / "logs" / "n" / "version_0" / "deep" / "er")
    assert logger.sub_dir == "$PART/er"


class Graph(th.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.example_input_array = torch.ones(1, 1)

    def forward(self, number: torch.Tensor) -> torch.Tensor:
        return self.layer(number)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_graph_needs_no_trainer(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    logger.log_graph(Graph())
    logger.finalize("success")
    written = b"".join(path.read_bytes() for path in Path(logger.log_dir).glob("events.*"))
    assert b"Linear[layer]" in written


def test_a_dummy_takes_everything() -> None:
    logger = DummyLogger()
    logger.log_hyperparams()
    logger.log_metrics({"loss": 1.0})
    logger.watch(object(), log="all")
    logger[1].experiment.add_scalar("a", 1)
    logger.experiment[0].anything()
    assert isinstance(pickle.loads(pickle.dumps(logger)), DummyLogger)
    assert isinstance(copy.deepcopy(logger), DummyLogger)


def test_a_trainer_can_be_left_without_a_logger(tmp_path: Path) -> None:
    trainer = th.Trainer(**{**QUIET, "logger": CSVLogger(tmp_path)})
    trainer.logger = None
    assert trainer.loggers == []
    trainer.logger = logger = CSVLogger(tmp_path)
    assert trainer.loggers == [logger]
