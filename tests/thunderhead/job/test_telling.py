"""Which values are told where there is room for a few, and what of them fits a board."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from thunderhead.job.board import Board
from thunderhead.job.telling import most_telling

VALUES = (0.1, 1e300, math.nan, -math.inf)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["lr-Adam", "train_loss", "acc", "val_acc"], ["train_loss", "val_acc", "acc", "lr-Adam"]),
        (["loss_step", "loss_epoch", "loss"], ["loss", "loss_epoch", "loss_step"]),
        (["samples_per_second", "lr", "lr_1", "a"], ["a", "samples_per_second", "lr", "lr_1"]),
        (["accuracy", "grad_norm", "loss"], ["loss", "accuracy", "grad_norm"]),
        (["grad", "f1_step", "f1_epoch"], ["f1_epoch", "f1_step", "grad"]),
        (["a", "accuracy/dataloader_idx_1", "loss"], ["loss", "accuracy/dataloader_idx_1", "a"]),
        (["val_loss", "loss", "my_score_step"], ["my_score_step", "loss", "val_loss"]),
    ],
)
def test_what_people_steer_by_comes_first(names: list[str], expected: list[str]) -> None:
    assert most_telling(names, watched={"my_score_step"}, validated={"accuracy", "f1"}) == expected


def test_a_loss_survives_a_thousand_learning_rates() -> None:
    names = [f"lr-Adam/pg{index}" for index in range(1000)] + ["train_loss", "val/f1", "zzz"]
    assert most_telling(names)[:3] == ["train_loss", "val/f1", "zzz"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_logged_as_much_as_fits_is_published(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    alphabet = 'ab/_\u00e9\U0001f600\n"\\'
    metrics = {
        "".join(draw.choices(alphabet, k=draw.choice((1, 40, 300, 3000, 30_000)))): draw.choice(VALUES)
        for _ in range(draw.choice((1, 50, 400)))
    }
    board = Board.create(tmp_path / "board")
    told = board.publish_metrics(metrics)
    read = Board.attach(tmp_path / "board").metrics()
    assert list(read) == list(told) == [name for name in metrics if name in told]
    assert repr(read) == repr(told)
    spent = len(json.dumps(told))
    for name in metrics:
        if name not in told:
            assert spent + len(json.dumps({name: metrics[name]})) > 16_000, f"seed {seed}: {name[:30]} would have fit"


def test_an_address_of_the_longest_kind_fits(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board")
    board.publish_commit(step=1, uri="file:///" + "\u00e9" * 2000, at=1.0)
    assert board.commit() is not None
