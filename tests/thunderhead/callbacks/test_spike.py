"""SpikeDetection: which losses are spikes, and what is left behind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, shuffled
from trainer_ranks import run_ranks
from trainer_resumes import WAYS, Resumes

import thunderhead as th
from thunderhead.callbacks import SpikeDetection
from thunderhead.callbacks.spike import TrainingSpikeException
from thunderhead.exceptions import MisconfigurationException


class Given(Net):
    """Losses as they are given."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(scheduler="none")
        self.losses = losses

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * 0.0 + self.losses[batch_idx]


def fit(losses: list[float], folder: Path, **options: Any) -> int | None:
    """The batch that was found to be a spike."""
    detection = SpikeDetection(**{"exclude_batches_path": folder, **options})
    trainer = th.Trainer(**{**QUIET, "max_epochs": 1, "limit_train_batches": len(losses)}, callbacks=detection)
    try:
        trainer.fit(Given(losses), shuffled())
    except TrainingSpikeException as error:
        return error.batch_idx
    return None


@pytest.mark.parametrize(
    ("losses", "options", "batch"),
    [
        ([1.0, 1.1, 0.9, 1.0, 1.0], {}, None),
        ([1.0, 1.0, 1.0, 5.0, 1.0], {}, 3),
        ([1.0, 1.0, 1.0, 2.9, 1.0], {}, None),
        ([1.0, 1.0, 1.0, 2.9, 1.0], {"rtol": 1.0}, 3),
        ([1.0, 1.0, 1.0, 1.6, 1.0], {"rtol": None, "atol": 0.5}, 3),
        ([1.0, 1.0, 1.0, 5.0, 1.0], {"atol": 10.0}, None),
        ([1.0, 1.0, 1.0, -9.0, 1.0], {}, None),
        ([5.0, 5.0, 5.0, -9.0, 1.0], {"mode": "max"}, 3),
        ([1.0, 9.0, 1.0, 1.0, 1.0], {"warmup": 2}, None),
        ([1.0, 1.0, math.nan, 1.0, 1.0], {}, 2),
        ([1.0, 1.0, math.inf, 1.0, 1.0], {"finite_only": False}, None),
        ([math.nan, 1.0, 1.0, 1.0, 1.0], {}, None),
        ([9.0, 1.0, 1.0, 4.0, 1.0], {"window": 2}, 3),
    ],
)
def test_spikes(tmp_path: Path, losses: list[float], options: dict[str, Any], batch: int | None) -> None:
    assert fit(losses, tmp_path, **options) == batch
    path = tmp_path / "skip_batches.json"
    assert path.exists() is (batch is not None)
    if batch is not None:
        assert json.loads(path.read_text()) == [batch - 1, batch]


def test_where_the_list_goes(tmp_path: Path) -> None:
    assert fit([1.0, 1.0, 9.0], tmp_path / "deep" / "bad.json") == 2
    assert json.loads((tmp_path / "deep" / "bad.json").read_text()) == [1, 2]
    trainer = th.Trainer(**QUIET, max_epochs=1, default_root_dir=tmp_path, callbacks=SpikeDetection())
    with pytest.raises(TrainingSpikeException, match="the loss of batch 1 is a spike; it and the batch before are"):
        trainer.fit(Given([1.0, 9.0]), shuffled())
    assert (tmp_path / "skip_batches.json").exists()


@pytest.mark.parametrize("way", WAYS)
def test_resumed_to_the_bit(tmp_path: Path, way: str) -> None:
    made = Resumes(lambda: [SpikeDetection(rtol=100.0)]).check(tmp_path, 7, way)
    assert made.callbacks[0].state_dict()["losses"]


def test_a_step_without_a_loss() -> None:
    class Silent(Net):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            """None."""

    trainer = th.Trainer(**{**QUIET, "max_epochs": 1}, callbacks=SpikeDetection())
    with (
        pytest.warns(UserWarning, match="training_step returned None"),
        pytest.raises(TypeError, match="looks at losses, and training_step of Silent returned none for batch 0"),
    ):
        trainer.fit(Silent(), shuffled())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "least"}, "SpikeDetection: mode='least' does not exist"),
        ({"window": 0}, "SpikeDetection: window=0 must be an integer of at least 1"),
        ({"warmup": -1}, "SpikeDetection: warmup=-1 must be an integer of at least 0"),
        ({"rtol": "much"}, "SpikeDetection: rtol='much' must be a number or None"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        SpikeDetection(**options)


def on_rank(rank: int, folder: str) -> int | None:
    th.seed_everything(1, verbose=False)
    detection = SpikeDetection(exclude_batches_path=folder)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 1, "strategy": "ddp"}, callbacks=detection)
    try:
        trainer.fit(Given([1.0, 1.0, 9.0 if rank else 1.0]), shuffled())
    except TrainingSpikeException as error:
        return error.batch_idx
    return None


def test_a_spike_on_one_rank_ends_all(tmp_path: Path) -> None:
    assert run_ranks(on_rank, 2, tmp_path, str(tmp_path)) == [2, 2]
    assert torch.tensor(json.loads((tmp_path / "skip_batches.json").read_text())).tolist() == [1, 2]


def test_the_next_run_of_another_trainer_has_losses_of_its_own(tmp_path: Path) -> None:
    detection = SpikeDetection(exclude_batches_path=tmp_path)
    for level in (1.0, 9.0):
        trainer = th.Trainer(**{**QUIET, "max_epochs": 1, "limit_train_batches": 4}, callbacks=detection)
        trainer.fit(Given([level] * 4), shuffled())
    assert detection.state_dict() == {"last_val": 9.0, "losses": [9.0] * 4, "bad_batches": []}
