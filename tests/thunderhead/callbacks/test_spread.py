"""Callbacks that need whole parameters, where ranks hold them together."""

from __future__ import annotations

import pytest
from trainer_models import QUIET, Net

import thunderhead as th
from thunderhead import callbacks
from thunderhead.exceptions import MisconfigurationException

NEED_ALL = (
    callbacks.EMAWeightAveraging(),
    callbacks.LearningRateFinder(),
    callbacks.ModelPruning("l1_unstructured"),
    callbacks.StochasticWeightAveraging(0.05),
    callbacks.WeightAveraging(),
)


@pytest.mark.parametrize("callback", NEED_ALL, ids=lambda callback: type(callback).__name__)
def test_they_say_so_before_training_begins(callback: th.Callback) -> None:
    said = f"{type(callback).__name__} needs whole parameters, and strategy='fsdp' spreads them over ranks; use"
    with pytest.raises(MisconfigurationException, match=said):
        callback.setup(th.Trainer(**QUIET, strategy="fsdp"), Net(), "fit")
    callback.setup(th.Trainer(**QUIET), Net(), "fit")
