"""What rank 0 notes of a run's files, as it begins and as it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import thunderhead as th
from thunderhead_agent.results import FILE, noted


class Line(th.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = (self.weight - batch.mean()).square().sum()
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(root: Path, **arguments: Any) -> th.Trainer:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    return th.Trainer(default_root_dir=root, accelerator="cpu", max_epochs=1, **(quiet | arguments))


def note(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / FILE).read_text())
    return found


def test_loggers_and_the_best_checkpoint_are_noted(tmp_path: Path) -> None:
    loggers = [th.loggers.CSVLogger(tmp_path), th.loggers.TensorBoardLogger(tmp_path, name="tb")]
    best = th.callbacks.ModelCheckpoint(tmp_path / "kept", monitor="loss")
    run = trainer(tmp_path, logger=loggers, callbacks=best)
    with noted(run, tmp_path):
        assert note(tmp_path)["checkpoints"] == [], "noted before the first step: a rank may be killed"
        run.fit(Line(), DataLoader(range(4), batch_size=2, collate_fn=lambda rows: torch.tensor(rows).float()))
    found = note(tmp_path)
    assert found["files"] == [
        {"kind": "metrics file", "path": f"{tmp_path}/lightning_logs/version_0/metrics.csv"},
        {"kind": "TensorBoard", "path": f"{tmp_path}/tb/version_0"},
    ]
    (kept,) = found["checkpoints"]
    assert (kept["path"], kept["monitor"]) == (best.best_model_path, "loss")
    assert kept["score"] == pytest.approx(float(best.best_model_score or -1))
    assert all(Path(file["path"]).exists() for file in (*found["files"], kept))


@pytest.mark.parametrize("place", [None, RuntimeError("the server is away")], ids=["has none", "cannot tell"])
def test_a_logger_that_does_not_say_where_it_writes_ends_nothing(tmp_path: Path, place: Any) -> None:
    class Elsewhere(th.loggers.CSVLogger):
        @property
        def log_dir(self) -> Any:
            if place is not None:
                raise place
            return None

    ran = False
    run = trainer(tmp_path, logger=False)
    run.loggers = [Elsewhere(tmp_path)]
    with noted(run, tmp_path):
        ran = True
    assert ran


def test_a_failure_is_noted_too(tmp_path: Path) -> None:
    run = trainer(tmp_path, logger=th.loggers.CSVLogger("s3://bucket/logs", version=3), enable_checkpointing=False)

    def fail() -> None:
        with noted(run, tmp_path):
            (tmp_path / FILE).unlink()
            raise KeyError("lost")

    with pytest.raises(KeyError):
        fail()
    assert note(tmp_path)["files"] == [
        {"kind": "metrics file", "path": "s3://bucket/logs/lightning_logs/version_3/metrics.csv"}
    ]


def test_a_directory_that_takes_no_file_ends_no_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, logger=False, enable_checkpointing=False)
    with noted(run, tmp_path / "nowhere"):
        pass
    assert not (tmp_path / "nowhere").exists()
