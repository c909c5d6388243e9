"""A run that goes on from a ``.ckpt`` file does what the undisturbed run did after writing it, whenever that was."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, Noisy, in_order, shuffled
from trainer_ranks import run_ranks

import thunderhead as th

BATCHES, EPOCHS = 5, 2


class Diary(th.Callback):
    """What happens, in order: training batches with their loss and learning rate, validation batches, saves.

    Args:
        save_after: batches after which a file is written; its path is ``folder/<batches>.ckpt``.
    """

    def __init__(self, folder: Path, save_after: tuple[int, ...] = ()) -> None:
        self.folder = folder
        self.save_after = save_after
        self.events: list[str] = []
        self.saved_at: dict[int, int] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.events.append(f"train {trainer.current_epoch}.{batch_idx} {float(outputs['loss']).hex()} {rate:.6g}")
        done = trainer.current_epoch * BATCHES + batch_idx + 1
        if done in self.save_after:
            trainer.save_checkpoint(self.folder / f"{done}.ckpt")
            self.saved_at[done] = len(self.events)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.events.append("validation")

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.events.append(f"  batch {batch_idx}")


def fit(diary: Diary, scheduler: str, ckpt_path: Path | None, **options: Any) -> None:
    th.seed_everything(5)
    trainer = th.Trainer(**QUIET, max_epochs=EPOCHS, num_sanity_val_steps=0, callbacks=[diary], **options)
    trainer.fit(Net(scheduler=scheduler), shuffled(Noisy(), 8 // trainer.world_size), in_order(), ckpt_path=ckpt_path)


@pytest.mark.parametrize("scheduler", ["step", "epoch", "plateau"])
@pytest.mark.parametrize("interval", [2, 0.4, 1.0])
def test_validation_is_neither_repeated_nor_cut_and_rates_go_on(
    tmp_path: Path, scheduler: str, interval: float
) -> None:
    after = tuple(range(1, BATCHES * EPOCHS))
    whole = Diary(tmp_path, after)
    fit(whole, scheduler, None, val_check_interval=interval)
    assert whole.events.count("validation") == EPOCHS * (2 if interval != 1.0 else 1)
    for done in after:
        resumed = Diary(tmp_path)
        fit(resumed, scheduler, tmp_path / f"{done}.ckpt", val_check_interval=interval)
        assert resumed.events == whole.events[whole.saved_at[done] :], f"resumed after {done} batches"


class Drawing(Diary):
    """Draws random numbers as it writes, as one does that keeps a sample of something in the file."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["sample"] = [*torch.randperm(10)[:3].tolist(), random.random()]


@pytest.mark.parametrize("done", [2, 3, 5, 7])
def test_what_is_drawn_in_writing_is_drawn_once(tmp_path: Path, done: int) -> None:
    whole, resumed = Drawing(tmp_path, (done,)), Drawing(tmp_path)
    fit(whole, "step", None, val_check_interval=2)
    fit(resumed, "step", tmp_path / f"{done}.ckpt", val_check_interval=2)
    assert resumed.events == whole.events[whole.saved_at[done] :]


def _ranks(rank: int, folder: str, saves: tuple[int, ...]) -> list[tuple[list[str], list[str]]]:
    whole = Diary(Path(folder), saves)
    fit(whole, "step", None, val_check_interval=2)
    found = []
    for done in saves:
        resumed = Diary(Path(folder))
        fit(resumed, "step", Path(folder) / f"{done}.ckpt", val_check_interval=2)
        found.append((resumed.events, whole.events[whole.saved_at[done] :]))
    return found


def test_several_ranks_go_on_from_one_file(tmp_path: Path) -> None:
    for found in run_ranks(_ranks, 2, tmp_path, str(tmp_path), (2, 3, 5, 7)):
        for resumed, expected in found:
            assert resumed == expected
            assert resumed
