"""The GPU benchmark trains, shown with a very small model on the CPU; its figures are a device's alone."""

from __future__ import annotations

import pytest
import torch

from bench.gpu import GPT, Shape, measure, run

SMALL = Shape(layers=1, width=8, heads=2, vocabulary=16, context=4, batch_size=2)


def test_both_halves_of_every_pair_are_measured() -> None:
    pairs = measure("cpu", SMALL, compiled=False, steps=2, pairs=3)
    assert len(pairs.ratios()) == 3
    assert all(ratio > 0 for ratio in pairs.ratios())


def test_the_model_has_124_million_parameters() -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in GPT(Shape()).parameters())
    assert count == pytest.approx(124e6, rel=0.01)


def test_without_a_device_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (result,) = run(quick=True)
    assert result.rows == []
    assert "no CUDA device" in result.notes[0]
