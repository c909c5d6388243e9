"""Layers that are synchronised for the time of a fit."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from trainer_models import QUIET, Net, shuffled
from trainer_ranks import run_ranks

import thunderhead as th


def _failed_fit(rank: int) -> tuple[bool, bool]:
    module = Net()
    try:
        th.Trainer(**QUIET, max_epochs=1, sync_batchnorm=True).fit(module, shuffled())
    except ValueError as error:
        # torch synchronises BatchNorm on accelerators only, which it says once the layers are replaced.
        return "SyncBatchNorm" in str(error), type(module.net[1]) is nn.BatchNorm1d
    raise AssertionError("the fit should have failed on a CPU")


def test_a_fit_that_fails_gives_the_module_its_layers_back(tmp_path: Path) -> None:
    assert run_ranks(_failed_fit, 2, tmp_path) == [(True, True)] * 2
