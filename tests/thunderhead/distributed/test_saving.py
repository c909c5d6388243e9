"""Saving with several ranks: nobody waits for a rank that will not come, and a failed write is everybody's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from trainer_line import Line, numbers
from trainer_models import QUIET
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint


class FailsOn(Line):
    """One rank raises in its third batch, in which the other waits for its gradients."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss."""
        if batch_idx == 2 and self.global_rank == self.rank:
            raise ValueError("lost")
        return super().training_step(batch, batch_idx)


def _fails(rank: int, failing: int, directory: str) -> tuple[str, list[str]]:
    saving = ModelCheckpoint(directory, save_top_k=1, save_last=True, save_on_exception=True)
    trainer = th.Trainer(**{**QUIET, "enable_checkpointing": None}, max_epochs=1, callbacks=[saving])
    try:
        trainer.fit(FailsOn(failing), numbers(*range(10)))
    except (ValueError, RuntimeError) as error:
        ended = type(error).__name__
    if rank != failing:
        return ended, []
    # The peer learns of it by our leaving; whoever waited for it in a collective would be waiting still.
    return ended, sorted(os.listdir(directory)) if os.path.isdir(directory) else []


@pytest.mark.parametrize("failing", [0, 1])
def test_saving_on_an_exception_waits_for_nobody(tmp_path: Path, failing: int) -> None:
    found = run_ranks(_fails, 2, tmp_path, failing, str(tmp_path / "kept"), timeout_s=60)
    assert found[failing][0] == "ValueError"
    assert found[1 - failing][0] in ("RuntimeError", "DistBackendError", "DistNetworkError")
    if failing == 0:
        assert found[0][1] == ["epoch=0-step=2.ckpt", "last.ckpt"]
    assert sorted(os.listdir(tmp_path / "kept")) == ["epoch=0-step=2.ckpt", "last.ckpt"]


def _cannot_write(rank: int, path: str) -> str:
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Line(), numbers(1, 2))
    try:
        trainer.save_checkpoint(path)
    except OSError as error:
        dist.barrier()
        return f"{type(error).__name__}: {error}"
    return ""


def test_a_write_that_fails_fails_on_every_rank(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.ckpt"
    found = run_ranks(_cannot_write, 2, tmp_path, str(path), timeout_s=60)
    assert found[0].startswith(("FileExistsError", "NotADirectoryError"))
    assert found[1].startswith(f"OSError: rank 0 could not write {str(path)!r}: ")
