"""What a training step costs in counts, which are the same on any machine: calls, collectives, reads from a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from trainer_ranks import run_ranks

import thunderhead as th
from bench.calls import CallCounter, added_calls, calls_per_step
from bench.collectives import RAW, collectives_per_step, in_trainer
from bench.host_reads import host_reads
from bench.sides import OURS
from bench.workloads import TINY, RawLoop


@pytest.mark.parametrize(
    ("logged", "everything", "limit"),
    [
        pytest.param(0, False, 20, id="nothing logged"),
        pytest.param(5, True, 50, id="everything on, five values"),
    ],
)
def test_calls_per_step_over_a_raw_loop(logged: int, everything: bool, limit: float) -> None:
    assert 0 < added_calls(OURS, logged=logged, everything=everything) <= limit


def test_every_call_counts() -> None:
    def wasteful(items: CallCounter) -> None:
        for item in items:
            RawLoop.__call__(raw, [item])  # one call of ours
            abs(-1)  # and one of C

    raw = RawLoop(TINY)
    assert calls_per_step(wasteful) == pytest.approx(calls_per_step(raw) + 2, abs=0.1)


class ReducesEachBatch(th.Callback):
    """What a trainer must not do."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One collective."""
        dist.all_reduce(torch.zeros(1))


def _count(rank: int) -> tuple[float, float, float]:
    raw, ours = collectives_per_step(RAW), collectives_per_step(OURS)
    wasteful = in_trainer(OURS, ReducesEachBatch())
    return raw, ours, wasteful


def test_no_collective_but_those_of_ddp(tmp_path: Path) -> None:
    for raw, ours, wasteful in run_ranks(_count, 2, tmp_path):
        assert raw > 0
        assert ours == raw
        assert wasteful > ours * 60


class ReadsEachBatch(th.Callback):
    """What a trainer must not do."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One read that waits."""
        outputs["loss"].item()


class ReadsMetricsEachBatch(th.Callback):
    """What a callback may do: looking at the newest step values waits for nothing until one is made a number."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """All of them."""
        assert "value_0" in trainer.callback_metrics
        assert "value_0_step" in trainer.logged_metrics


def test_no_read_from_a_device_that_waits() -> None:
    reads = host_reads(OURS, ReadsMetricsEachBatch())
    assert reads.waiting == 0
    assert 0 < reads.late < 0.2  # values come over in groups


def test_every_read_counts() -> None:
    assert host_reads(OURS, ReadsEachBatch()).waiting == 1
