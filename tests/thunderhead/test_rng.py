"""Random state of a process, captured, kept apart and put back."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest
import torch

import thunderhead as th
from thunderhead.rng import capture_rng, isolate_rng, restore_rng
from thunderhead.store.codec import encode


def draw() -> tuple[Any, ...]:
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(()).item(), random.gauss(0, 1)


def test_a_captured_state_repeats() -> None:
    th.seed_everything(1, verbose=False)
    draw()
    state = capture_rng()
    first = [draw() for _ in range(3)]
    restore_rng(state)
    assert [draw() for _ in range(3)] == first


def test_states_of_more_devices_than_there_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a file from another machine: those that are here get theirs."""
    given: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", given.extend)
    state = {**capture_rng(), "cuda": [torch.full((16,), device, dtype=torch.uint8) for device in range(8)]}
    restore_rng(state)
    assert [int(device_state[0]) for device_state in given] == [0, 1]


def test_it_can_be_committed() -> None:
    encode(capture_rng())


def test_isolation() -> None:
    th.seed_everything(1, verbose=False)
    expected = [draw(), draw()]
    th.seed_everything(1, verbose=False)
    first = draw()
    with isolate_rng():
        th.seed_everything(99, verbose=False)
        draw()
    assert [first, draw()] == expected


def test_seeding(capsys: pytest.CaptureFixture[str]) -> None:
    assert th.seed_everything(5, workers=True) == 5
    assert (os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"]) == ("5", "1")
    assert "Seed set to 5" in capsys.readouterr().err
    first = draw()
    assert th.seed_everything(verbose=False) == 5, "without a number the remembered one counts"
    assert draw() == first


@pytest.mark.parametrize(("seed", "message"), [(-1, "outside"), (2**32, "outside"), ("x", "no integer")])
def test_refused(seed: Any, message: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=message):
        th.seed_everything(seed)
