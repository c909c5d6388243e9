"""ModelCheckpoint with several ranks: rank 0 decides once and tells the others in one broadcast."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers
from trainer_models import QUIET
from trainer_ranks import run_ranks

import thunderhead as th
from bench.collectives import numbered
from thunderhead.callbacks import ModelCheckpoint


class Scored(Line):
    """Logs a metric on rank 0 alone, which is worse in the last epoch."""

    def on_validation_epoch_end(self) -> None:
        """Log it."""
        if self.global_rank == 0:
            self.log("score", torch.tensor((2.0, 1.0, 3.0)[self.current_epoch]), rank_zero_only=True)


class Counting(ModelCheckpoint):
    """Notes the collectives of each of its moments, without those inside ``Trainer.save_checkpoint``."""

    def __init__(self, *args: Any, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        self.spent: list[int] = []
        self.files = 0

    def _count(self, trainer: Any, hook: Any, *args: Any) -> None:
        inside = 0
        save = type(trainer).save_checkpoint

        def saving(*given: Any) -> None:
            nonlocal inside
            before = numbered()
            save(trainer, *given)
            inside += numbered() - before
            self.files += 1

        trainer.save_checkpoint = saving
        before = numbered()
        hook(trainer, *args)
        self.spent.append(numbered() - before - inside)
        del trainer.save_checkpoint

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Counted."""
        self._count(trainer, super().on_train_batch_end, *args)

    def on_validation_end(self, trainer: Any, *args: Any) -> None:
        """Counted."""
        self._count(trainer, super().on_validation_end, *args)

    def on_train_epoch_end(self, trainer: Any, *args: Any) -> None:
        """Counted."""
        self._count(trainer, super().on_train_epoch_end, *args)

    def on_train_end(self, trainer: Any, *args: Any) -> None:
        """Counted."""
        self._count(trainer, super().on_train_end, *args)


def _fit(rank: int, directory: str, arguments: dict[str, Any]) -> tuple[list[int], int, str, int]:
    """Collectives by moment, files, name of the best, and what one broadcast counts."""
    saving = Counting(directory, **arguments)
    trainer = th.Trainer(
        **{**QUIET, "enable_checkpointing": None}, max_epochs=3, num_sanity_val_steps=0, callbacks=[saving]
    )
    trainer.fit(Scored(), numbers(*range(8)), numbers(1, 2))
    before = numbered()
    trainer.strategy.broadcast(None)
    return saving.spent, saving.files, os.path.basename(saving.best_model_path), numbered() - before


@pytest.mark.parametrize(
    ("arguments", "decisions", "files", "best"),
    [
        pytest.param({}, 3, 3, "epoch=2-step=12.ckpt", id="newest"),
        pytest.param({"save_last": True}, 3, 6, "epoch=2-step=12.ckpt", id="newest and last"),
        pytest.param({"save_last": "link"}, 3, 3, "epoch=2-step=12.ckpt", id="newest and a link"),
        pytest.param({"monitor": "score", "save_last": True}, 3, 4, "epoch=1-step=8.ckpt", id="best and last"),
        # Due at 4, 8 and 12, and put off until the validation that follows each.
        pytest.param({"every_n_train_steps": 4, "monitor": "score"}, 3, 2, "epoch=1-step=8.ckpt", id="by step"),
        # At step 3 there is no metric yet, hence after validation at 4; rank 0 alone has one at 6 and 9; last at 12.
        pytest.param({"every_n_train_steps": 3, "monitor": "score"}, 5, 2, "epoch=2-step=9.ckpt", id="between"),
        pytest.param({"save_top_k": 0}, 0, 0, "", id="nothing to save"),
    ],
)
def test_one_broadcast_per_decision(
    tmp_path: Path, arguments: dict[str, Any], decisions: int, files: int, best: str
) -> None:
    for spent, written, name, one in run_ranks(_fit, 2, tmp_path, str(tmp_path / "kept"), arguments):
        assert one > 0
        assert [each for each in spent if each] == [one] * decisions
        assert (written, name) == (files, best)


class Unplanned(ModelCheckpoint):
    """Cannot name a file on rank 0, as where a bucket does not answer."""

    def format_checkpoint_name(self, *args: Any, **arguments: Any) -> str:
        """Raise."""
        raise PermissionError("no access")


def _cannot_plan(rank: int, directory: str) -> str:
    trainer = th.Trainer(**{**QUIET, "enable_checkpointing": None}, max_epochs=1, callbacks=[Unplanned(directory)])
    with pytest.raises(OSError, match="no access") as caught:
        trainer.fit(Line(), numbers(1, 2))
    return f"{caught.type.__name__}: {caught.value}"


def test_a_decision_that_fails_fails_on_every_rank(tmp_path: Path) -> None:
    found = run_ranks(_cannot_plan, 2, tmp_path, str(tmp_path / "kept"), timeout_s=60)
    assert found[0] == "PermissionError: no access"
    assert found[1] == "OSError: rank 0 could not plan the checkpoint of step 1: PermissionError: no access"
