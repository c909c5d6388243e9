"""Several ranks for a test: processes of one warm fork server, which has imported torch already."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
# Whatever else a test's module imports, each of its ranks imports by itself.
_PRELOAD = ("torch", "torch.distributed", "torch._dynamo", "torchmetrics", "thunderhead.trainer.trainer", "pytest")
_CONTEXT.set_forkserver_preload(list(_PRELOAD))


def run_ranks(
    function: Callable[..., Any], world_size: int, directory: Path, *args: Any, timeout_s: float = 100
) -> list[Any]:
    """What ``function(rank, *args)`` returns on each rank of a gloo process group.

    Raises:
        AssertionError: a rank raised (its traceback is in the message) or did not end in time.
    """
    rendezvous = directory / f"rendezvous-{world_size}-{len(list(directory.iterdir()))}"
    pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(world_size)]
    processes = [
        _CONTEXT.Process(
            target=_rank,
            args=(
                (function.__code__.co_filename, function.__qualname__),
                rank,
                world_size,
                str(rendezvous),
                os.getcwd(),
                pipes[rank][1],
                args,
            ),
            daemon=False,  # it may have loader processes; whatever happens, it is ended below
        )
        for rank in range(world_size)
    ]
    for process, pipe in zip(processes, pipes, strict=True):
        process.start()
        pipe[1].close()
    results = []
    try:
        for rank, (receiving, _) in enumerate(pipes):
            assert receiving.poll(timeout_s), f"rank {rank} of {world_size} did not end within {timeout_s} s"
            error, result = receiving.recv()
            assert error is None, f"rank {rank} of {world_size}:\n{error}"
            results.append(result)
    finally:
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.kill()
    return results


def _load(file: str, name: str) -> Callable[..., Any]:
    """The function from its file: test modules are not importable by name in another process."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function: Callable[..., Any] = getattr(module, name)
    return function


def _rank(
    where: tuple[str, str],
    rank: int,
    world_size: int,
    rendezvous: str,
    directory: str,
    pipe: Connection,
    args: tuple[Any, ...],
) -> None:
    import torch
    import torch.distributed as dist

    os.chdir(directory)
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_WORLD_SIZE=str(world_size)
    )
    try:
        if world_size > 1:
            dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)
        result = _load(*where)(rank, *args)
        pipe.send((None, result))
        if dist.is_initialized():
            dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 - told to the test, which fails with it
        pipe.send((traceback.format_exc(), None))
        # A broken group must not keep the process at its exit.
        os._exit(1)


def threads_of_gloo(*, none: bool) -> list[str]:
    """Names of the threads of gloo that this process has, each once, where there should be some or none.

    A thread that was joined may be seen for another moment.
    """
    give_up = time.monotonic() + 10
    while True:
        names = set()
        for comm in Path("/proc/self/task").glob("*/comm"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                names.add(comm.read_text().strip())
        found = sorted(name for name in names if "gloo" in name)
        if not found or not none or time.monotonic() > give_up:
            return found
        time.sleep(0.01)
