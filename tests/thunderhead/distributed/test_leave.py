"""Leaving the process group: whoever is the last to hold it, its threads end."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from trainer_ranks import run_ranks, threads_of_gloo

from thunderhead.distributed.leave import keep_group_out_of_defaults, leave_group
from thunderhead_agent import process_group


def _leave(rank: int, directory: str, subgroup: bool) -> list[str]:
    """Rank 0 leaves while a thread of gloo's still holds the tensor of a collective, as a slow machine has it."""
    keep_group_out_of_defaults()
    _train(rank, Path(directory), dist.new_group([0, 1]) if subgroup else None)
    leave_group()
    return threads_of_gloo(none=True)


def _train(rank: int, directory: Path, group: dist.ProcessGroup | None = None) -> None:
    wrapped = DistributedDataParallel(torch.nn.Linear(1, 1), process_group=group)
    wrapped.part_of_a_cycle = [wrapped]
    leaves = directory / "rank 0 leaves"
    if rank == 1:
        while not leaves.exists():
            time.sleep(0.01)
        time.sleep(0.5)  # for rank 0 to stand where it waits for its thread; too short, and the test only sees less
    dist.all_reduce(torch.ones(2), group=group, async_op=True)
    leaves.touch()


@pytest.mark.parametrize("subgroup", [False, True], ids=["the group of all", "another group"])
def test_a_wrapped_module_that_is_the_last_to_hold_the_group_does_not_hang(tmp_path: Path, subgroup: bool) -> None:
    """Its destructor holds the interpreter's lock and waits for a thread, which waits for the lock."""
    assert run_ranks(_leave, 2, tmp_path, str(tmp_path), subgroup, timeout_s=30) == [[], []]


def _end_as_a_worker(rank: int, directory: str) -> None:
    """Under the agent, whose workers end without cleaning up, a collection may come before they do."""
    dist.destroy_process_group()
    store = dist.FileStore(f"{directory}/store", 2)
    process_group.another_client = lambda plan: store  # type: ignore[assignment]
    plan: Any = SimpleNamespace(rank=rank, local_rank=rank, world_size=2)
    with process_group.process_group(plan, "cpu"):
        _train(rank, Path(directory))
    gc.collect()


def test_a_worker_of_the_agent_does_not_hang_either(tmp_path: Path) -> None:
    assert run_ranks(_end_as_a_worker, 2, tmp_path, str(tmp_path), timeout_s=30) == [None, None]
