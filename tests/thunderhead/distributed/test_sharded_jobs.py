"""Jobs whose modules are spread over ranks: each rank commits what it holds, and goes on with its bits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_job import Losses, MemoryLink, StopAt
from trainer_models import QUIET, in_order, regression, shuffled
from trainer_ranks import run_ranks
from trainer_sharded import Sharded, gathered

import thunderhead as th
from thunderhead import job
from thunderhead.exceptions import MisconfigurationException
from thunderhead.job.errors import Stopped
from thunderhead.job.stop import boundary_tick, evaluation_tick
from thunderhead.strategies import ModelParallelStrategy

CASES: dict[str, Any] = {
    "by name": ("nothing", lambda: "fsdp", {"gradient_clip_val": 0.1}),
    "layers": ("layers", lambda: ModelParallelStrategy(tensor_parallel_size=1), {"accumulate_grad_batches": 2}),
    "parts": ("tensor", ModelParallelStrategy, {"precision": "bf16-mixed"}),
}


def train(case: str, link: MemoryLink, how: str | None = None) -> Any:
    """One execution, from scratch as a new process would: seed, build, fit."""
    job.attach(link)
    th.seed_everything(3, verbose=False)
    kind, strategy, options = CASES[case]
    module, losses = Sharded(how or kind, dropout=0.3, hidden=7 if kind == "layers" else 8), Losses()
    trainer = th.Trainer(
        **{**QUIET, "max_epochs": 2, "num_sanity_val_steps": 0, **options}, strategy=strategy(), callbacks=[losses]
    )
    stopped = False
    try:
        trainer.fit(module, shuffled(regression(44), batch_size=4), in_order(regression(22, seed=8), batch_size=4))
    except Stopped:
        stopped = True
    weights = {name: value.tolist() for name, value in gathered(module).items()}
    return losses.seen, weights, {name: value.item() for name, value in trainer.callback_metrics.items()}, stopped


def _compare(rank: int, directory: str) -> list[str]:
    different = []
    for case in CASES:
        path = Path(directory) / f"{case}-{rank}"
        path.mkdir()
        whole = train(case, MemoryLink(path))
        steps = {"by name": 6, "layers": 3, "parts": 11}[case]
        ticks = {
            "inside an epoch": boundary_tick(2),
            "at the end of an epoch": boundary_tick(steps),
            "in a validation": evaluation_tick(steps, 0, 1),
        }
        for where, tick in ticks.items():
            commits: dict[int, Any] = {}
            first = train(case, MemoryLink(path, commits, stop=StopAt(tick)))
            resumed = train(case, MemoryLink(path, commits))
            if not first[3] or first[0] + resumed[0] != whole[0] or resumed[1:3] != whole[1:3]:
                different.append(f"{case}, stopped {where}: {first[0]} + {resumed[0]} is not {whole[0]}")
    return different


def test_resumed_bits_equal(tmp_path: Path) -> None:
    assert run_ranks(_compare, 2, tmp_path, str(tmp_path)) == [[]] * 2


def _cut_otherwise(rank: int, directory: str) -> tuple[str, dict[str, list[int]]]:
    path = Path(directory) / f"otherwise-{rank}"
    path.mkdir()
    commits: dict[int, Any] = {}
    train("layers", MemoryLink(path, commits, stop=StopAt(boundary_tick(2))))
    own = commits[2]["local"].tree["own"]["state_dict"]
    shapes = {name: list(piece["thunderhead.piece"].shape) for name, piece in own.items()}
    with pytest.raises(MisconfigurationException) as error:
        train("parts", MemoryLink(path, commits))
    return str(error.value), shapes


def test_each_rank_commits_its_piece_and_other_pieces_are_told_apart(tmp_path: Path) -> None:
    (first, shapes), (_, others) = run_ranks(_cut_otherwise, 2, tmp_path, str(tmp_path))
    assert "holds this rank's piece of net.0.weight, of shape [7, 4] cut by (Shard(dim=0),)" in first
    assert "but configure_model now makes it of shape [8, 4]" in first
    assert shapes["net.0.weight"] == [4, 4]
    assert others["net.0.weight"] == [3, 4]


def _not_finite(rank: int) -> bool:
    from thunderhead.loops.finite import has_finite_parameters

    th.seed_everything(3, verbose=False)
    module = Sharded("nothing")
    th.Trainer(**QUIET, strategy="fsdp", max_epochs=1).fit(module, shuffled(regression(8), batch_size=4))
    assert has_finite_parameters(module)
    with torch.no_grad():
        if rank == 1:
            next(module.parameters()).to_local()[0] = math.nan
    return has_finite_parameters(module)


def test_what_is_no_number_is_found_on_the_rank_that_holds_it(tmp_path: Path) -> None:
    assert run_ranks(_not_finite, 2, tmp_path) == [True, False]
