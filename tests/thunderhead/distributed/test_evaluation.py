"""The same metrics with one, two and three ranks: every sample counts once, in every loader and reduction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from trainer_models import QUIET, Net, regression
from trainer_ranks import run_ranks

import thunderhead as th


class Reducing(th.LightningModule):
    """Logs each value of a sample's number, in every reduction."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        (numbers,) = batch
        self.log("mean", numbers.mean(), sync_dist=True)
        self.log("sum", numbers.sum(), sync_dist=True, reduce_fx="sum")
        self.log("count", float(len(numbers)), sync_dist=True, reduce_fx="sum")
        self.log("min", numbers.min(), sync_dist=True, reduce_fx="min")
        self.log("max", numbers.max(), sync_dist=True, reduce_fx="max")

    test_step = validation_step


def _evaluate(rank: int, fn: str, sizes: list[int], batch_size: int) -> list[dict[str, float]]:
    loaders = [
        DataLoader(TensorDataset(torch.arange(size, dtype=torch.float64) + 100 * index), batch_size=batch_size)
        for index, size in enumerate(sizes)
    ]
    found: list[dict[str, float]] = getattr(th.Trainer(**QUIET), fn)(
        Reducing(), loaders if len(loaders) > 1 else loaders[0], verbose=False
    )
    return found


@pytest.mark.parametrize("fn", ["validate", "test"])
def test_metrics_do_not_depend_on_the_number_of_ranks(tmp_path: Path, fn: str) -> None:
    for sizes, batch_size in (([23], 4), ([7], 1), ([4], 3), ([22, 13, 5], 4)):
        alone = run_ranks(_evaluate, 1, tmp_path, fn, sizes, batch_size)[0]
        counts = [value for found in alone for name, value in found.items() if name.startswith("count")]
        assert counts == sizes
        for world_size in (2, 3):
            for found in run_ranks(_evaluate, world_size, tmp_path, fn, sizes, batch_size):
                assert [list(metrics) for metrics in found] == [list(metrics) for metrics in alone]
                for mine, its in zip(found, alone, strict=True):
                    assert mine == pytest.approx(its, rel=1e-12), (sizes, batch_size, world_size)


def test_fewer_samples_than_ranks(tmp_path: Path) -> None:
    """A rank without a sample takes part in the reductions all the same."""
    alone = run_ranks(_evaluate, 1, tmp_path, "validate", [2], 4)[0]
    for found in run_ranks(_evaluate, 3, tmp_path, "validate", [2], 4):
        assert found == [pytest.approx(alone[0])] or found == [{}]


def test_what_is_reduced_over_ranks_at_an_epochs_end_is_there_in_the_sanity_check(tmp_path: Path) -> None:
    assert run_ranks(_sanity, 2, tmp_path) == [[2.0, 2.0], [2.0, 2.0]]


def _sanity(rank: int) -> list[float]:
    seen = []

    class Last(Net):
        def on_validation_epoch_end(self) -> None:
            self.log("highest_rank", float(rank + 1), sync_dist=True, reduce_fx="max")

        def on_validation_end(self) -> None:
            seen.append(self.trainer.callback_metrics["highest_rank"].item())

    loader = DataLoader(regression(8), batch_size=4)
    th.Trainer(**QUIET, max_epochs=1).fit(Last(scheduler="none"), loader, loader)
    return seen
