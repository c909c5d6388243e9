"""Leaving the process group: whoever is the last to hold it, its threads end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from trainer_ranks import run_ranks, threads_of_gloo

from thunderhead.distributed.leave import keep_group_out_of_defaults, leave_group


def _leave(rank: int, directory: str, subgroup: bool) -> list[str]:
    """Rank 0 leaves while a thread of gloo's still holds the tensor of a collective, as a slow machine has it."""
    keep_group_out_of_defaults()
    group = dist.new_group([0, 1]) if subgroup else None
    wrapped = DistributedDataParallel(torch.nn.Linear(1, 1), process_group=group)
    wrapped.part_of_a_cycle = [wrapped]
    leaves = Path(directory) / "rank 0 leaves"
    if rank == 1:
        while not leaves.exists():
            time.sleep(0.01)
        time.sleep(0.5)  # for rank 0 to stand where it waits for its thread; too short, and the test only sees less
    work = dist.all_reduce(torch.ones(2), group=group, async_op=True)
    leaves.touch()
    del wrapped, work, group
    leave_group()
    return threads_of_gloo(none=True)


@pytest.mark.parametrize("subgroup", [False, True], ids=["the group of all", "another group"])
def test_a_wrapped_module_that_is_the_last_to_hold_the_group_does_not_hang(tmp_path: Path, subgroup: bool) -> None:
    """Its destructor holds the interpreter's lock and waits for a thread, which waits for the lock."""
    assert run_ranks(_leave, 2, tmp_path, str(tmp_path), subgroup, timeout_s=30) == [[], []]
