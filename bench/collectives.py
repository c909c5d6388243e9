"""Collectives that a trainer adds to a step with two ranks and a sized loader, over raw DDP.

Counted where every one of them passes: a gloo group numbers its collectives, whoever starts them and from which thread.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
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
from bench.workloads import FEATURES, TINY, module_class, network, optimizer

FIRST, LAST = 20, 80
RAW = "raw"


def run(*, quick: bool) -> list[Result]:
    """Ours and Lightning's; nothing to shorten."""
    del quick
    counts = {side: _in_two_processes(side) for side in (RAW, OURS, *([LIGHTNING] if has_lightning() else []))}
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


def _in_two_processes(side: str) -> float:
    """What rank 0 counted."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=_rank, args=(rank, folder, side, sending)) for rank in range(2)]
        for process in ranks:
            process.start()
        sending.close()
        try:
            count = float(receiving.recv())
        except EOFError:
            raise RuntimeError(f"the ranks of {side} ended without a count; their errors are above") from None
        for process in ranks:
            process.join()
    return count


def _rank(rank: int, folder: str, side: str, sending: Any) -> None:
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in names.items()})
    # Both trainers then know that their processes were started for them.
    os.environ |= {"TORCHELASTIC_RUN_ID": "bench", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    count = collectives_per_step(side)
    if rank == 0:
        sending.send(count)
    dist.barrier()
    dist.destroy_process_group()
