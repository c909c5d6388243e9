"""Work on two ranks over gloo, each a process of its own on this machine."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

import torch
import torch.distributed as dist

Found = TypeVar("Found")


def on_two_ranks(work: Callable[..., Found], *arguments: object) -> Found:
    """What rank 0's ``work(*arguments)`` returns.

    Raises:
        RuntimeError: it ended without.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=_rank, args=(rank, folder, sending, work, arguments)) for rank in range(2)]
        for process in ranks:
            process.start()
        sending.close()
        try:
            found: Found = receiving.recv()
        except EOFError:
            raise RuntimeError(f"the ranks of {work.__name__} ended without a result; their errors are above") from None
        for process in ranks:
            process.join()
    return found


def _rank(
    rank: int, folder: str, sending: Connection, work: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in names.items()})
    # Both trainers then know that their processes were started for them.
    os.environ |= {"TORCHELASTIC_RUN_ID": "bench", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = work(*arguments)
    if rank == 0:
        sending.send(found)
    dist.barrier()
    dist.destroy_process_group()
