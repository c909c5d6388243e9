"""Values on a device: read in groups behind their work, with the same sums and records."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader
from trainer_logging import Module, fit, plain
from trainer_models import regression


def test_grouping_of_device_values_does_not_change_their_sum() -> None:
    """Values that wait on a device are folded in order, however many at a time."""
    from thunderhead.results.entry import LogSpec, Mean
    from thunderhead.results.results import Results

    spec = LogSpec(
        on_step=True,
        on_epoch=True,
        prog_bar=False,
        logger=True,
        reduction="mean",
        enable_graph=False,
        sync_dist=False,
        group=None,
        dataloader_idx=None,
        add_dataloader_idx=True,
        metric_attribute=None,
        rank_zero_only=False,
    )
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(200, generator=generator)
    sums = set()
    for group in (1, 7, 64, 200):
        results = Results(training=True, host=False)
        entry = results.register("training_step", "a", spec)
        assert isinstance(entry, Mean)
        for index, value in enumerate(values):
            entry.defer(value, 3)
            if (index + 1) % group == 0:
                results.fold()
        results.fold()
        sums.add((entry.total.hex(), entry.weight))
    assert len(sums) == 1


def test_a_device_sees_the_same_records() -> None:
    """Values kept on the device and brought over in groups give what reading each at once gives, in the same order."""

    class OnDevice(Module):
        device_like = False

        def on_train_start(self) -> None:
            if self.device_like:
                self.trainer._training.results.host = False

        def train_dataloader(self) -> Any:
            return DataLoader(regression(1600), batch_size=8)

    def log(module: Module, value: float) -> None:
        module.log("both", torch.tensor(value / 7), on_step=True, on_epoch=True, prog_bar=True)
        module.log("most", torch.tensor(value), on_step=False, on_epoch=True, reduce_fx="max")
        module.log("number", value, on_epoch=True)

    found = []
    for device_like in (False, True):
        module = OnDevice(log)
        module.device_like = device_like
        trainer, seen = fit(module, log_every_n_steps=3, max_epochs=2, limit_val_batches=0)
        found.append((seen, plain(trainer.callback_metrics), trainer.progress_bar_metrics))
    assert found[0] == found[1]
    assert len(found[0][0]) == 2 * 200 // 3 + 2


def test_a_device_is_read_once_per_interval() -> None:
    from thunderhead.results import host_copy

    class Counted(Module):
        def on_train_start(self) -> None:
            self.trainer._training.results.host = False

        def train_dataloader(self) -> Any:
            return DataLoader(regression(1600), batch_size=8)

    copies = []
    original = host_copy.HostCopy.__init__

    def counting(self: Any, values: Any) -> None:
        copies.append(len(values))
        original(self, values)

    host_copy.HostCopy.__init__ = counting  # type: ignore[method-assign]
    try:
        fit(Counted(lambda module, v: module.log("a", torch.tensor(v), on_epoch=True)), log_every_n_steps=50)
    finally:
        host_copy.HostCopy.__init__ = original  # type: ignore[method-assign]
    assert copies == [1, 64, 1, 64, 1, 64, 1, 8], "4 records of one value, and 200 values in groups of 64"
