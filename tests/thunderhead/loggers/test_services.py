"""Loggers of services, against stand-ins for their packages."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_parts import QUIET, CliData, CliModel
from service_stand_ins import Mlflow, Wandb, stand_in_mlflow, stand_in_wandb

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers import MLFlowLogger, WandbLogger
from thunderhead.loggers.service import ServiceLogger


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    return stand_in_wandb(monkeypatch)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    return stand_in_mlflow(monkeypatch)


def losses(trainer: th.Trainer, name: str = "train_loss") -> None:
    trainer.fit(CliModel(), datamodule=CliData())


def test_wandb_is_told_of_everything(wandb: Wandb, tmp_path: Path) -> None:
    logger = WandbLogger("mine", tmp_path, project="digits", prefix="a", tags=["x"])
    trainer = th.Trainer(**{**QUIET, "logger": logger, "max_epochs": 2})
    trainer.fit(CliModel(), datamodule=CliData())
    (run,) = wandb.runs.values()
    assert {name: run.arguments[name] for name in ("name", "project", "dir", "resume", "tags")} == {
        "name": "mine",
        "project": "digits",
        "dir": str(tmp_path),
        "resume": "allow",
        "tags": ["x"],
    }
    steps = [record["trainer/global_step"] for record in run.history if "a-train_loss" in record]
    assert steps == list(range(8))
    assert run.metrics[0] == ("trainer/global_step", {})
    assert run.config["lr"] == 0.1
    assert (logger.name, logger.version, logger.save_dir) == ("digits", run.id, str(tmp_path))
    assert not run.ended, "who called fit may log on"


@pytest.mark.parametrize(
    ("given", "directory"),
    [({}, "."), ({"dir": "a"}, "a"), ({"save_dir": None, "dir": "a"}, "a"), ({"save_dir": "b", "dir": "a"}, "b")],
)
def test_wandb_has_two_names_for_its_directory(wandb: Wandb, given: dict[str, Any], directory: str) -> None:
    assert WandbLogger(**given).save_dir == directory


def test_wandb_refuses_what_cannot_be(monkeypatch: pytest.MonkeyPatch, wandb: Wandb) -> None:
    with pytest.raises(MisconfigurationException, match="offline=True, log_model=True"):
        WandbLogger(offline=True, log_model=True)
    with pytest.raises(MisconfigurationException, match="log_model='some'"):
        WandbLogger(log_model="some")  # type: ignore[arg-type]
    logger = WandbLogger()
    with pytest.raises(TypeError, match="images must be a list"):
        logger.log_image("i", "a.png")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="caption has 1 values for 2 images"):
        logger.log_image("i", ["a", "b"], caption=["x"])
    logger.log_image("i", ["a", "b"], step=3, caption=["x", "y"])
    (run,) = wandb.runs.values()
    assert run.history == [{"i": [("a", {"caption": "x"}), ("b", {"caption": "y"})], "trainer/global_step": 3}]
    assert pickle.loads(pickle.dumps(logger)).version == run.id


@pytest.mark.parametrize("kind", [WandbLogger, MLFlowLogger])
def test_a_package_that_is_not_there_is_named(kind: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs the package \w+, which is not installed; pip install"):
        kind()


def test_mlflow_is_told_of_everything(mlflow: Mlflow, tmp_path: Path) -> None:
    logger = MLFlowLogger("digits", "mine", save_dir=tmp_path, tags={"x": "y"})
    trainer = th.Trainer(**{**QUIET, "logger": logger, "max_epochs": 2})
    trainer.fit(CliModel(), datamodule=CliData())
    (run,) = mlflow.runs.values()
    assert [step for name, _, step in run.metrics if name == "train_loss"] == list(range(8))
    assert run.data.params["lr"] == "0.1"
    assert run.data.tags == {"x": "y", "mlflow.runName": "mine"}
    assert run.info.status == "FINISHED"
    assert (mlflow.uri, logger.save_dir) == (f"file:{tmp_path}", str(tmp_path))
    assert (logger.name, logger.version) == ("e0", "r0")
    assert list(mlflow.experiments) == ["digits"]


@pytest.mark.parametrize(("log_model", "sent"), [(False, 0), (True, 1), ("all", 2)])
def test_checkpoints_are_sent(log_model: Any, sent: int, wandb: Wandb, mlflow: Mlflow, tmp_path: Path) -> None:
    loggers = [WandbLogger(save_dir=tmp_path, log_model=log_model), MLFlowLogger(log_model=log_model)]
    arguments = {**QUIET, "logger": loggers, "max_epochs": 2, "enable_checkpointing": True}
    saving = ModelCheckpoint(tmp_path / "kept", monitor="val_loss", save_top_k=1)
    th.Trainer(**arguments, callbacks=saving).fit(CliModel(), datamodule=CliData())
    (run,), (other,) = wandb.runs.values(), mlflow.runs.values()
    assert (len(run.artifacts), len(other.files)) == (sent, sent)
    for artifact, aliases in run.artifacts[-1:]:
        assert artifact.files == [(saving.best_model_path, "model.ckpt", "mutable")]
        assert aliases == ["latest", "best"]
        assert artifact.metadata["score"] == pytest.approx(saving.best_model_score.item())


class Crash(th.Callback):
    """The power goes out."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After this step."""
        if trainer.global_step == self.at:
            raise KeyboardInterrupt


def attempt(logger: ServiceLogger, settings: str = "s1", lr: float = 0.1, **fit: Any) -> None:
    logger._belongs_to("digits-12345678", settings)
    saving = ModelCheckpoint("kept", every_n_train_steps=5, save_top_k=-1, filename="{step}")
    arguments = {**QUIET, "logger": logger, "max_epochs": 3, "enable_checkpointing": True}
    warnings.filterwarnings("ignore", message="checkpoint directory .* exists and is not empty")
    callbacks = [saving, Crash(fit.pop("crash"))] if "crash" in fit else [saving]
    th.seed_everything(1, verbose=False)
    th.Trainer(**arguments, callbacks=callbacks).fit(CliModel(lr=lr), datamodule=CliData(), **fit)


def curve(of: Wandb | Mlflow) -> list[tuple[int, float]]:
    (run,) = of.runs.values()
    if isinstance(of, Mlflow):
        return [(step, value) for name, value, step in run.metrics if name == "train_loss"]
    return [(r["trainer/global_step"], r["train_loss"]) for r in run.history if "train_loss" in r]


@pytest.mark.parametrize(("kind", "stand_in"), [(WandbLogger, stand_in_wandb), (MLFlowLogger, stand_in_mlflow)])
def test_attempts_of_a_job_are_one_curve(kind: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stand_in(monkeypatch)
    attempt(kind())
    undisturbed = curve(whole)
    assert len(undisturbed) == 12

    of = stand_in(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        attempt(kind(), crash=7)  # two steps after the checkpoint
    attempt(kind(), ckpt_path="kept/step=5.ckpt")
    assert curve(of) == undisturbed


@pytest.mark.parametrize(("kind", "stand_in"), [(WandbLogger, stand_in_wandb), (MLFlowLogger, stand_in_mlflow)])
def test_with_other_settings_the_new_values_are_sent(kind: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    of = stand_in(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        attempt(kind(), crash=7)
    with pytest.warns(UserWarning, match="the checkpoint's settings stand"):
        attempt(kind(), settings="s2", lr=0.01, ckpt_path="kept/step=5.ckpt")
    steps = [step for step, _ in curve(of)]
    # The file of step 5 is written before its record; the crash comes before the record of step 7.
    assert steps == [*range(6), *range(4, 12)], "a service takes nothing back, so both are there"


def test_a_worker_of_a_job_ends_its_run(wandb: Wandb, mlflow: Mlflow) -> None:
    attempt(WandbLogger())
    (run,) = wandb.runs.values()
    assert (run.id, run.arguments["name"], run.ended) == ("digits-12345678", "digits-12345678", [0])


def test_what_a_user_named_stays(wandb: Wandb) -> None:
    logger = WandbLogger("mine", version="abc")
    logger._belongs_to("digits-12345678", "s1")
    assert (logger.version, logger.experiment.arguments["name"]) == ("abc", "mine")
