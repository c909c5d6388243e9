"""When validation runs, and the sanity check before training."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, run, trainer

import thunderhead as th


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        ({}, [10, 20]),
        ({"val_check_interval": 1.0}, [10, 20]),
        ({"val_check_interval": "100%"}, [10, 20]),
        ({"val_check_interval": 1}, list(range(1, 21))),
        ({"val_check_interval": "1 batch"}, list(range(1, 21))),
        ({"val_check_interval": 0.5}, [5, 10, 15, 20]),
        ({"val_check_interval": 0.01}, list(range(1, 21))),
        ({"val_check_interval": 4}, [4, 8, 14, 18]),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None}, [4, 8, 12, 16, 20]),
        ({"val_check_interval": 15, "check_val_every_n_epoch": None}, [15]),
        ({"check_val_every_n_epoch": 2}, [20]),
        ({"check_val_every_n_epoch": 3}, []),
        ({"val_check_interval": 0.5, "check_val_every_n_epoch": 2}, [15, 20]),
        ({"limit_val_batches": 0}, []),
        ({"val_check_interval": "00:00:00:00"}, list(range(1, 21))),
        ({"val_check_interval": "00:00:00:00", "check_val_every_n_epoch": 2}, list(range(11, 21))),
        ({"val_check_interval": timedelta(hours=1)}, []),
        ({"val_check_interval": {"days": 1}}, []),
    ],
)
def test_when_validation_runs(arguments: dict[str, Any], after: list[int]) -> None:
    assert run(val=numbers(0), max_epochs=2, **arguments)[0].validated == after


@pytest.mark.parametrize(("steps", "batches"), [(None, 2), (0, 0), (1, 1), (-1, 4), (99, 4)])
def test_sanity_check(steps: int | None, batches: int) -> None:
    class Logging(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.log("seen", 1.0)

        def on_train_start(self) -> None:
            assert self.trainer.callback_metrics == {}

    module, made = run(Logging(), num_sanity_val_steps=steps)
    assert module.validated == [0] * batches + [10] * 4
    assert made.callback_metrics == {"seen": 1.0}


def test_loaders_that_nobody_reads_are_said() -> None:
    class Blind(Line):
        validation_step = th.LightningModule.validation_step

    class Own(Blind):
        def val_dataloader(self) -> Any:
            return numbers(1)

    class Data(th.LightningDataModule):
        train_dataloader = val_dataloader = staticmethod(lambda: numbers(1))

    with pytest.warns(UserWarning, match="Blind has no validation_step, so val_dataloaders is not used"):
        _, made = run(Blind(), val=numbers(1))
    assert not made.enable_validation
    with pytest.warns(UserWarning, match="Own has no validation_step, so val_dataloader is not used"):
        trainer().fit(Own(), numbers(1))
    with pytest.warns(UserWarning, match="Blind has no validation_step, so val_dataloader is not used"):
        trainer().fit(Blind(), datamodule=Data())


class Empty(th.LightningDataModule):
    """Forgets validation."""

    train_dataloader = staticmethod(lambda: numbers(1))


@pytest.mark.parametrize(
    ("arguments", "data", "told"),
    [
        ({}, {"train_dataloaders": numbers(1)}, ["no val_dataloaders were passed"]),
        ({}, {"datamodule": Empty()}, ["Empty has no val_dataloader"]),
        ({"limit_val_batches": 0}, {"datamodule": Empty()}, []),
        ({}, {"train_dataloaders": numbers(1), "val_dataloaders": numbers(1)}, []),
    ],
)
def test_a_step_without_a_loader_is_said(
    arguments: dict[str, Any], data: dict[str, Any], told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    trainer(**arguments).fit(Line(), **data)
    notes = [note for note in caplog.messages if "validation_step" in note]
    assert notes == [f"validation_step of Line is not called: {why}" for why in told]


def test_how_many_batches_a_sanity_check_has() -> None:
    found: list[Any] = []

    class Looking(Line):
        def on_validation_start(self) -> None:
            found.append((self.trainer.num_sanity_val_batches, self.trainer.num_val_batches))

    run(Looking(), num_sanity_val_steps=3)
    run(Looking(), val=numbers(1), num_sanity_val_steps=-1)
    assert found == [([3], [4])] * 2 + [([1], [1])] * 2


def test_the_sanity_check_draws_no_numbers() -> None:
    class Drawing(Line):
        drawn: Any = None

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            torch.rand(3)

        def on_train_start(self) -> None:
            self.drawn = torch.rand(1).item()

    found = []
    for steps in (0, 2):
        th.seed_everything(3)
        module = Drawing()
        run(module, num_sanity_val_steps=steps)
        found.append(module.drawn)
    assert found[0] == found[1]
