"""TensorBoardLogger: what it writes, read back from its event files, and where."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from trainer_models import QUIET, Net, bits, in_order, shuffled

import thunderhead as th
from thunderhead.loggers import TensorBoardLogger

# TensorBoard's own imports warn.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def events(directory: str | Path) -> Any:
    """What TensorBoard reads in a directory."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(os.fspath(directory))
    found.Reload()
    return found


def scalars(directory: str | Path, tag: str) -> list[tuple[int, float]]:
    """Steps and values of one curve."""
    return [(event.step, event.value) for event in events(directory).Scalars(tag)]


def test_a_run(tmp_path: Path) -> None:
    class Kept(Net):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters()

    logger = TensorBoardLogger(tmp_path)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 2, "log_every_n_steps": 2, "logger": logger})
    trainer.fit(Kept(), shuffled(), in_order())
    assert trainer.log_dir == str(tmp_path / "lightning_logs" / "version_0")
    assert [step for step, _ in scalars(logger.log_dir, "train_loss_step")] == [1, 3, 5, 7, 9]
    assert [step for step, _ in scalars(logger.log_dir, "val_loss")] == [4, 9]
    assert scalars(logger.log_dir, "hp_metric") == [(0, -1.0)]
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {"width": 3}
    assert TensorBoardLogger(tmp_path).version == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "logs/lightning_logs/version_0"),
        ({"name": "net"}, "logs/net/version_0"),
        ({"name": None, "version": 4}, "logs/version_4"),
        ({"name": "", "version": "fast"}, "logs/fast"),
        ({"sub_dir": "a/b", "version": 1}, "logs/lightning_logs/version_1/a/b"),
        ({"name": "$TB_TEST"}, "logs/filled/version_0"),
    ],
)
def test_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], expected: str) -> None:
    monkeypatch.setenv("TB_TEST", "filled")
    logger = TensorBoardLogger(tmp_path / "logs", **arguments)
    assert logger.log_dir == str(tmp_path / expected)
    assert logger.save_dir == str(tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_values(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, prefix="run")
    logger.log_metrics({"number": 1, "tensor": torch.tensor([0.5]), "several": {"a": 1.0, "b": torch.tensor(2.0)}}, 3)
    logger.finalize("success")
    assert scalars(logger.log_dir, "run-number") == [(3, 1.0)]
    assert scalars(logger.log_dir, "run-tensor") == [(3, 0.5)]
    assert scalars(Path(logger.log_dir, "run-several_b"), "run-several") == [(3, 2.0)]


@pytest.mark.parametrize("value", ["text", torch.zeros(2), None])
def test_values_that_are_no_number(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match=r"TensorBoardLogger got x=.*log a number"):
        TensorBoardLogger(tmp_path).log_metrics({"x": value})


@pytest.mark.parametrize(
    ("metrics", "default", "written"),
    [
        (None, True, {"hp_metric": -1.0}),
        (None, False, {}),
        (0.5, True, {"hp_metric": 0.5}),
        ({"acc": torch.tensor(0.25)}, True, {"acc": 0.25}),
    ],
)
def test_hyperparameters(tmp_path: Path, metrics: Any, default: bool, written: dict[str, float]) -> None:
    logger = TensorBoardLogger(tmp_path, default_hp_metric=default)
    logger.log_hyperparams(Namespace(lr=0.1, opt={"name": "adam", "betas": [0.9, 0.99]}, none=None), metrics)
    _ = logger.experiment
    logger.finalize("success")
    found = events(logger.log_dir)
    assert {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"]} == pytest.approx(written)
    plugin = found.summary_metadata.get("_hparams_/session_start_info")
    assert (plugin is not None) == bool(written)
    if plugin is not None:
        for name in (b"lr", b"opt/name", b"opt/betas", b"none"):
            assert name in plugin.plugin_data.content
    saved = yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text())
    assert saved == {"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}, "none": None}


def test_the_graph(tmp_path: Path) -> None:
    class Example(Net):
        def __init__(self, example: Any) -> None:
            super().__init__()
            self.example_input_array = example

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            torch.rand(())
            return super().forward(inputs)

    logger = TensorBoardLogger(tmp_path, log_graph=True)
    options = {**QUIET, "max_epochs": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    traced, plain = Example(torch.ones(2, 4)), Example(None)
    plain.load_state_dict(traced.state_dict())
    for module, chosen in ((traced, logger), (plain, False)):
        th.seed_everything(1, verbose=False)
        th.Trainer(**{**options, "logger": chosen}).fit(module, shuffled())
    assert bits(traced) == bits(plain)
    assert events(logger.log_dir).Tags()["graph"]
    with pytest.warns(UserWarning, match=r"log_graph=True.*Example is a list"):
        logger.log_graph(Example([1]))


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"x": 1.0})
    logger.log_hyperparams({"x": 1})
    logger.save()
    logger.finalize("success")
    assert logger.experiment is None
    assert not list(tmp_path.iterdir())


def test_pickled_without_its_file(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"x": 1.0}, 0)
    again = pickle.loads(pickle.dumps(logger))
    assert again.log_dir == logger.log_dir
    logger.finalize("success")


def test_nothing_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    script = (
        "import sys; from thunderhead.loggers import TensorBoardLogger; "
        f"TensorBoardLogger({str(tmp_path)!r}); print('tensorboard' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_to_do_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="install thunderhead\\[loggers\\], or use CSVLogger"):
        TensorBoardLogger(tmp_path)


@pytest.mark.parametrize("given", [{}, {"logger": None}, {"logger": True}])
def test_it_is_the_default_where_tensorboard_is_installed(tmp_path: Path, given: dict[str, Any]) -> None:
    quiet = {name: value for name, value in QUIET.items() if name != "logger"}
    trainer = th.Trainer(**{**quiet, "max_epochs": 1, "default_root_dir": tmp_path, **given})
    assert isinstance(trainer.logger, TensorBoardLogger)
    assert trainer.log_dir == str(tmp_path / "lightning_logs" / "version_0")
