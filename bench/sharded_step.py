"""A step of FSDP2 on two ranks over gloo, in the trainer and in a loop by hand, in pairs inside one run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import thunderhead as th
from bench.pairs import PairedBatches
from bench.report import Result, row
from bench.two_ranks import on_two_ranks
from bench.workloads import Batch, Workload, batches, network, optimizer

WORK = Workload("MLP of 256 units", width=256, depth=3, batch_size=32)


def run(*, quick: bool) -> list[Result]:
    """Ours alone: Lightning has no such pair in one process."""
    ratios, raw = on_two_ranks(_measured, 16 if quick else 40)
    return [
        Result(
            name="sharded-step",
            title="A step of FSDP2 on two ranks over a hand-written loop's",
            how=(
                "fully_shard of each layer, in configure_model of a module under ModelParallelStrategy and by hand; "
                f"blocks of 20 steps in pairs, wall time of rank 0. A step by hand takes {raw * 1e3:.1f} ms here."
            ),
            rows=[row("thunderhead", ratios, at_most=1.05, digits=3)],
        )
    ]


def _shard(net: nn.Module, mesh: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for layer in net.children():
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


class Sharded(th.LightningModule):
    """The workload's network, sharded layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network(WORK)

    def configure_model(self) -> None:
        """Shard it."""
        mesh: Any = self.device_mesh
        _shard(self.net, mesh["data_parallel"])

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """As by hand."""
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As by hand."""
        return optimizer(WORK, self.parameters())


class ByHand:
    """The same without a trainer."""

    def __init__(self) -> None:
        from torch.distributed.device_mesh import init_device_mesh

        self._net = _shard(network(WORK), init_device_mesh("cpu", (2,)))
        self._optimizer = optimizer(WORK, self._net.parameters())

    def __call__(self, block: Sequence[Batch]) -> None:
        """Train on some batches."""
        for x, y in block:
            loss = nn.functional.mse_loss(self._net(x), y)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            self._optimizer.step()


def _measured(pairs: int) -> tuple[list[float], float]:
    loader = PairedBatches(batches(WORK, 8), ByHand(), steps=20, pairs=pairs, warm_up=20, clock=time.perf_counter)
    strategy = th.strategies.ModelParallelStrategy(tensor_parallel_size=1)
    trainer = th.Trainer(
        strategy=strategy,
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Sharded(), loader)
    measured = loader.measured
    return measured.ratios(), sorted(measured.raw)[len(measured.raw) // 2]
