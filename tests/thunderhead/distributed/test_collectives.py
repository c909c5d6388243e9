"""How often the trainer talks to the other ranks, counted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from trainer_models import QUIET, Net, regression, shuffled
from trainer_ranks import run_ranks

import thunderhead as th

CALLS = ("all_reduce", "broadcast", "all_gather", "barrier", "broadcast_object_list", "all_gather_object")


class Counter:
    """Counts the collectives that are called by name; DDP's own are not."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        for name in CALLS:
            setattr(dist, name, self._counted(name, getattr(dist, name)))

    def _counted(self, name: str, original: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            return original(*args, **kwargs)

        return counted


class Between(th.Callback):
    """What was called from the start of one batch to the end of the hooks of another one."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self.calls: list[str] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self._counter.calls.clear()
        if batch_idx == 6:
            self.calls = list(self._counter.calls)


def test_clocks_cost_no_collective_per_batch(tmp_path: Path) -> None:
    """Time limit, files and validation by the clock, and a note of SIGTERM: all agreed beside the training thread."""
    assert run_ranks(_clocks, 2, tmp_path, str(tmp_path)) == [[], []]


def _clocks(rank: int, directory: str) -> list[str]:
    between = Between(Counter())
    hours = timedelta(hours=5)
    callbacks = [between, th.callbacks.Timer(hours), th.callbacks.ModelCheckpoint(directory, train_time_interval=hours)]
    arguments = {**QUIET, "enable_checkpointing": None, "max_epochs": 1, "val_check_interval": hours}
    trainer = th.Trainer(**arguments, callbacks=callbacks)
    trainer.fit(Net(), shuffled(regression(64), batch_size=4), shuffled(regression(8), batch_size=4))
    return between.calls
