"""A job may ask that Lightning's names mean ours: its files and callbacks then say ``lightning``, and train here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "thunderhead"
JOB = """
apiVersion: thunderhead.dev/v1alpha1
kind: TrainingJob
metadata: {name: unedited}
spec:
  module:     {class_path: unedited.Regression}
  datamodule: {class_path: unedited.Points}
  trainer:
    max_epochs: 2
    callbacks: [{class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: loss}}]
  code: {configMap: {name: unedited-code}}
  checkpoint: {uri: s3://nowhere/unedited}
"""
ASKS = """
  podTemplate: {spec: {containers: [{name: trainer, env: [{name: THUNDERHEAD_COMPAT, value: "1"}]}]}}
"""
CODE = """
import lightning as L
import torch
from pytorch_lightning.callbacks import Callback


class Points(L.LightningDataModule):
    def train_dataloader(self):
        data = torch.utils.data.TensorDataset(torch.arange(8.0)[:, None])
        # A loader's process is a fresh interpreter: it has to read the module as well.
        return torch.utils.data.DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="spawn")


class Regression(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        return loss

    def configure_callbacks(self):
        return [Tell()]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.001)


class Tell(Callback):
    def on_train_end(self, trainer, pl_module):
        print("trained by", type(trainer).__module__, "for", trainer.global_step, "steps")
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("asks", "code", "said"),
    [
        (ASKS, 0, "trained by thunderhead.trainer.trainer for 8 steps"),
        pytest.param(
            "",
            78,
            "importing 'unedited' failed at unedited.py line 2: ModuleNotFoundError: No module named 'lightning'",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("lightning") is not None, reason="lightning itself is installed"
            ),
        ),
    ],
    ids=["asked for", "not asked for"],
)
def test_a_job_asks_by_a_variable_of_its_pods(tmp_path: Path, asks: str, code: int, said: str) -> None:
    (tmp_path / "job.yaml").write_text(JOB.rstrip() + asks)
    (tmp_path / "unedited.py").write_text(CODE)
    done = subprocess.run([COMMAND, "run", "-f", "job.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
