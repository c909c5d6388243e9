"""Manual optimisation on several ranks, and what a module asks the other ranks itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from trainer_models import QUIET, Net, regression
from trainer_ranks import run_ranks

import thunderhead as th


def test_a_backward_is_reduced_only_where_the_step_asks_for_it(tmp_path: Path) -> None:
    """Two backward passes per optimizer step: the ranks' gradients differ after the first, and meet in the second."""
    for unused in (False, True):
        first, second = run_ranks(_accumulating, 2, tmp_path, unused)
        assert [own == other for own, other in zip(first, second, strict=True)] == [False, True, False, True]


def _accumulating(rank: int, unused: bool) -> list[bytes]:
    found = []

    class ByHand(Net):
        def __init__(self) -> None:
            super().__init__(scheduler="none", normalise=False)
            self.automatic_optimization = False
            if unused:
                self.never = torch.nn.Linear(2, 2)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            last = batch_idx % 2 == 1
            with optimizer.toggle_model(sync_grad=last):
                inputs, target = batch
                self.manual_backward(torch.nn.functional.mse_loss(self(inputs), target))
            found.append(self.net[0].weight.grad.numpy().tobytes())
            if last:
                optimizer.step()
                optimizer.zero_grad()

    torch.manual_seed(0)
    arguments = {**QUIET, "strategy": f"ddp_find_unused_parameters_{str(unused).lower()}"}
    trainer = th.Trainer(**arguments, max_epochs=1, limit_train_batches=4)
    trainer.fit(ByHand(), DataLoader(regression(32), batch_size=4))
    return found


def test_numbers_anywhere_in_a_collection_are_gathered(tmp_path: Path) -> None:
    expected = {"int": [0, 2**40], "nested": [[0.0, 0.5], "kept"], "flag": [0, 1], "array": [[0, 0], [1, 1]]}
    assert run_ranks(_gathering, 2, tmp_path) == [expected, expected]


def _gathering(rank: int) -> dict[str, Any]:
    gathered: dict[str, Any] = {}

    class Asking(Net):
        def on_train_start(self) -> None:
            mine = {"int": rank * 2**40, "nested": [rank / 2, "kept"], "flag": rank == 1, "array": np.full(2, rank)}
            gathered.update(self.all_gather(mine))

    th.Trainer(**QUIET, max_steps=1).fit(Asking(scheduler="none"), DataLoader(regression(8), batch_size=4))
    nested = gathered["nested"]
    return {
        **{name: gathered[name].tolist() for name in gathered if name != "nested"},
        "nested": [nested[0].tolist(), nested[1]],
    }


def test_all_ranks_go_on_from_the_seed_that_was_chosen(tmp_path: Path) -> None:
    """Whatever a rank has drawn before; without a seed, each goes on from where it is."""
    seeded, unseeded = (run_ranks(_drawing, 2, tmp_path, chosen) for chosen in (True, False))
    assert seeded[0] == seeded[1] == torch.rand((), generator=torch.Generator().manual_seed(5)).item()
    assert unseeded[0] != unseeded[1]


def _drawing(rank: int, chosen: bool) -> float:
    drawn = []

    class Drawing(Net):
        def setup(self, stage: str) -> None:
            drawn.append(torch.rand(()).item())

    os.environ.pop("PL_GLOBAL_SEED", None)
    net = Drawing(scheduler="none")
    if chosen:
        th.seed_everything(5, verbose=False)
    torch.rand(rank + 1)
    th.Trainer(**QUIET, max_steps=1).fit(net, DataLoader(regression(8), batch_size=4))
    return drawn[0]
