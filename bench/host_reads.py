"""Values that a trainer reads from the device per step: each would make the host wait for the device.

Counted without a device, on the way that values of a device take: ``Results.host`` is switched off, and every
``item``, ``tolist``, ``numpy`` and ``cpu`` of any tensor counts, by torch's profiler where it is an operator. What is
brought over by a copy that was started earlier (``HostCopy``) is counted apart: it waits only for work that was queued
long before.
"""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils.data import DataLoader

from bench.inside_a_job import inside_a_job
from bench.report import Result, row
from bench.sides import LIGHTNING, OURS, everything_on, has_lightning
from bench.workloads import TINY, batches, module_class

FIRST, LAST = 100, 300


@dataclass(slots=True)
class Reads:
    """Per step of the window: reads that wait for the device, and copies that were started earlier."""

    waiting: float = 0.0
    late: float = 0.0


def run(*, quick: bool) -> list[Result]:
    """Ours and Lightning's; nothing to shorten."""
    del quick
    rows = []
    for package in [OURS, *([LIGHTNING] if has_lightning() else [])]:
        reads = host_reads(package)
        ours = package == OURS
        rows.append(row(f"{package}: reads that wait", [reads.waiting], at_most=0.0 if ours else None, digits=4))
        if ours:
            rows.append(row(f"{package}: copies in groups, started earlier", [reads.late], digits=4))
    return [
        Result(
            name="host-reads",
            title="Values read from the device per step",
            how=(
                f"`item`, `tolist`, `numpy` and `cpu` of any tensor over steps {FIRST} to {LAST} of the tiny MLP with "
                "everything on and five values, counted on the way that values of a device take."
            ),
            rows=rows,
            notes=[
                "Counted on a CPU, where Lightning reads no differently. That the host never waits on a real device "
                "is to be seen there: `torch.cuda.set_sync_debug_mode`."
            ],
        )
    ]


class Counter:
    """Counts reads between ``begin`` and ``end``."""

    def __init__(self) -> None:
        self.reads = Reads()
        self._stack = ExitStack()
        self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        self._methods = 0

    def begin(self) -> None:
        """Count from here on."""
        for name in ("tolist", "numpy", "cpu"):
            self._stack.enter_context(mock.patch.object(torch.Tensor, name, self._counted(getattr(torch.Tensor, name))))
        copies = importlib.import_module("thunderhead.results.host_copy").HostCopy
        self._stack.enter_context(mock.patch.object(copies, "numbers", self._apart(copies.numbers)))
        self._profiler.start()

    def end(self) -> None:
        """Stop counting."""
        self._profiler.stop()
        self._stack.close()
        operators = sum(
            event.count for event in self._profiler.key_averages() if event.key == "aten::_local_scalar_dense"
        )
        steps = LAST - FIRST
        self.reads.waiting = (self._methods + operators) / steps
        self.reads.late /= steps

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def read(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self._methods += 1
            return method(tensor, *args, **kwargs)

        return read

    def _apart(self, numbers: Callable[[Any], list[float]]) -> Callable[[Any], list[float]]:
        def copied(copy: Any) -> list[float]:
            before = self._methods
            found = numbers(copy)
            self._methods = before
            self.reads.late += 1
            return found

        return copied


def host_reads(package: str, *more: Any) -> Reads:
    """Reads per step in a fit with everything on; ``more`` callbacks come last."""
    api = importlib.import_module(package)
    counter = Counter()

    class Watch(api.Callback):  # type: ignore[misc, name-defined]  # whose it is is an argument
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if package == OURS:
                trainer._training.results.host = False

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == FIRST:
                counter.begin()
            elif batch_idx == LAST:
                counter.end()

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        if package == OURS:
            stack.enter_context(inside_a_job(Path(folder)))
        arguments = everything_on(api, Path(folder), monitor="value_0_epoch")
        arguments["callbacks"] += [Watch(), *more]
        trainer = api.Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=1,
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            **arguments,
        )
        trainer.fit(module_class(api.LightningModule, TINY, 5)(), DataLoader(batches(TINY, LAST + 1), batch_size=None))  # type: ignore[arg-type]
    return counter.reads
