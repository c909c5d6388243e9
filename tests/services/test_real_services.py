"""WandbLogger and MLFlowLogger with the packages themselves: wandb offline, mlflow with a local store; no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint
from thunderhead.loggers import MLFlowLogger, WandbLogger
from thunderhead.loggers.service import COUNT, ServiceLogger

pytestmark = [pytest.mark.services, pytest.mark.filterwarnings("ignore")]


class Line(th.LightningModule):
    """Fits one number."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Logs its loss."""
        loss = (self.weight * batch.float() - batch.float()).pow(2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Crash(th.Callback):
    """The power goes out."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Two steps after a checkpoint."""
        if trainer.global_step == 7:
            raise KeyboardInterrupt


def attempt(logger: ServiceLogger, directory: Path, *callbacks: th.Callback, **fit: Any) -> None:
    logger._belongs_to("digits-12345678", "s")
    saving = ModelCheckpoint(directory / "kept", every_n_train_steps=5, save_top_k=-1, filename="{step}")
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    trainer = th.Trainer(**quiet, max_epochs=3, log_every_n_steps=1, logger=logger, callbacks=[saving, *callbacks])
    trainer.fit(Line(), DataLoader([1.0, 2.0, 3.0, 4.0]), **fit)


@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_mlflow_keeps_one_curve(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{tmp_path}/runs.db" if store == "sqlite" else f"file:{tmp_path}/mlruns"

    def logger() -> MLFlowLogger:
        return MLFlowLogger("digits", tracking_uri=uri, log_model=True, artifact_location=f"file:{tmp_path}/artifacts")

    with pytest.raises(KeyboardInterrupt):
        attempt(logger(), tmp_path, Crash())
    attempt(logger(), tmp_path, ckpt_path=tmp_path / "kept/step=5.ckpt")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits")
    (run,) = client.search_runs([experiment.experiment_id])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == list(range(12))
    assert (run.info.status, run.data.params["lr"], run.data.tags[COUNT]) == ("FINISHED", "0.01", "12")
    assert client.list_artifacts(run.info.run_id)


def test_wandb_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"WANDB_SILENT": "true", "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        logger = WandbLogger("mine", tmp_path, offline=True, project="digits")
        attempt(logger, tmp_path)
        assert logger.version == "digits-12345678"
    runs = sorted((tmp_path / "wandb").glob("offline-run-*-digits-12345678"))
    assert len(runs) >= 1, "each attempt has files of its own, with the id of one run"
    assert all(list(run.glob("*.wandb")) for run in runs)
