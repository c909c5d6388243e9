"""Collectives that a trainer adds to a step with two ranks and a sized loader, over raw DDP.

Counted where every one of them passes: a gloo group numbers its collectives, whoever starts them and from which thread.
"""

from __future__ import annotations

import importlib
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from bench.report import Result, row
from bench.sides import LIGHTNING, OURS, everything_on, has_lightning
from bench.two_ranks import on_two_ranks
from bench.workloads import FEATURES, TINY, module_class, network, optimizer

FIRST, LAST = 20, 80
RAW = "raw"


def run(*, quick: bool) -> list[Result]:
    """Ours and Lightning's; nothing to shorten."""
    del quick
    counts = {
        side: on_two_ranks(collectives_per_step, side)
        for side in (RAW, OURS, *([LIGHTNING] if has_lightning() else []))
    }
    rows = [
        row(side, [count - counts[RAW]], at_most=0.0 if side == OURS else None, digits=3)
        for side, count in counts.items()
        if side != RAW
    ]
    return [
        Result(
            name="collectives",
            title="Collectives per step over raw DDP, two ranks, sized loader",
            how=(
                f"The numbers that gloo gives to collectives, over steps {FIRST} to {LAST} of the tiny MLP with a "
                "logger, ModelCheckpoint, LearningRateMonitor and five values; "
                f"raw DDP itself makes {counts[RAW]:g} a step."
            ),
            rows=rows,
        )
    ]


def collectives_per_step(side: str) -> float:
    """Collectives per step on this rank; in each process of a gloo group whose environment says its rank."""
    made = raw_ddp() if side == RAW else in_trainer(side)
    return made / (LAST - FIRST)


def numbered() -> int:
    """Collectives started so far in all groups of this process."""
    groups: Any = dist.distributed_c10d._world.pg_map
    return sum(group._get_sequence_number_for_group() for group in groups)


def loader(*, sharded: bool) -> DataLoader[Any]:
    """Batches for two ranks; trainers shard it themselves."""
    count = 2 * TINY.batch_size * (LAST + 2)
    data = TensorDataset(torch.randn(count, FEATURES), torch.randn(count, 1))
    sampler: DistributedSampler[Any] | None = DistributedSampler(data) if sharded else None
    return DataLoader(data, TINY.batch_size, sampler=sampler)


def raw_ddp() -> int:
    """Collectives of the window in a loop by hand."""
    net = DistributedDataParallel(network(TINY))
    step = optimizer(TINY, net.parameters())
    before = 0
    for index, (x, y) in enumerate(loader(sharded=True)):
        if index == FIRST:
            before = numbered()
        elif index == LAST:
            break
        step.zero_grad()
        torch.nn.functional.mse_loss(net(x), y).backward()  # type: ignore[no-untyped-call]  # torch's
        step.step()
    return numbered() - before


def in_trainer(package: str, *more: Any) -> int:
    """Collectives of the window in a fit with everything on; ``more`` callbacks come last."""
    api = importlib.import_module(package)
    seen: dict[int, int] = {}

    class Watch(api.Callback):  # type: ignore[misc, name-defined]  # whose it is is an argument
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx in (FIRST, LAST):
                seen[batch_idx] = numbered()

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = everything_on(api, Path(folder), monitor=None)
        arguments["callbacks"] += [Watch(), *more]
        trainer = api.Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            **arguments,
        )
        trainer.fit(module_class(api.LightningModule, TINY, 5)(), loader(sharded=False))
    return seen[LAST] - seen[FIRST]
