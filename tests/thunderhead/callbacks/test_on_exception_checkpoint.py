"""OnExceptionCheckpoint: a file of the moment of failure, that a next run goes on from and removes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trainer_models import QUIET, Net, bits, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import OnExceptionCheckpoint
from thunderhead.exceptions import MisconfigurationException


class Fails(th.Callback):
    """Fails after a batch, or in a hook."""

    def __init__(self, step: int = -1, setup: bool = False) -> None:
        self._step = step
        self._setup = setup

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Fail here?"""
        if self._setup:
            raise OSError("no data")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Fail here?"""
        if trainer.global_step == self._step:
            raise OSError("lost")


def fit(directory: Path, *others: th.Callback, ckpt_path: str | None = None, **options: Any) -> th.Trainer:
    """Two epochs of five batches, from one seed."""
    th.seed_everything(3, verbose=False)
    arguments = {**QUIET, "enable_checkpointing": True, "max_epochs": 2, **options}
    trainer = th.Trainer(**arguments, callbacks=[OnExceptionCheckpoint(directory), *others])
    trainer.fit(Net(), shuffled(), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("asked", [None, "last"])
def test_resumes_where_it_failed_and_removes_the_file(tmp_path: Path, asked: str | None) -> None:
    path = tmp_path / "on_exception.ckpt"
    with pytest.raises(OSError, match="lost"):
        fit(tmp_path, Fails(step=7))
    assert path.exists()
    resumed = fit(tmp_path, ckpt_path=asked)
    assert resumed.ckpt_path == str(path)
    assert (resumed.current_epoch, resumed.global_step) == (2, 10)
    assert not path.exists()


def test_a_failure_before_training_leaves_the_file_of_the_last_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="lost"):
        fit(tmp_path, Fails(step=7))
    path = tmp_path / "on_exception.ckpt"
    before = path.read_bytes()
    with pytest.raises(OSError, match="no data"):
        fit(tmp_path, Fails(setup=True))
    assert path.read_bytes() == before


def test_a_later_failure_replaces_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (3, 7):
        with pytest.raises(OSError, match="lost"):
            fit(tmp_path, Fails(step=step))
        assert caplog.messages[-1] == f"OSError: saved {tmp_path / 'on_exception.ckpt'}"
    assert fit(tmp_path, ckpt_path=str(tmp_path / "on_exception.ckpt"), max_steps=7).global_step == 7


def test_nothing_in_a_trial_run(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="lost"):
        fit(tmp_path, Fails(step=1), fast_dev_run=2)
    assert not list(tmp_path.iterdir())


def test_validation_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "on_exception.ckpt"
    path.write_text("kept")
    trainer = th.Trainer(**{**QUIET, "enable_checkpointing": True}, callbacks=[OnExceptionCheckpoint(tmp_path)])
    net = Net()
    before = bits(net)
    trainer.validate(net, in_order(), verbose=False)
    assert bits(net) == before
    assert path.read_text() == "kept"


def test_it_has_a_name(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="OnExceptionCheckpoint: filename='' must be a name"):
        OnExceptionCheckpoint(tmp_path, filename="")
    assert OnExceptionCheckpoint(tmp_path, filename="x").ckpt_path == str(tmp_path / "x.ckpt")
