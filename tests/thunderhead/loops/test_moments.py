"""What is so at which moment, where a module, a callback or a logger can tell: found by running Lightning beside us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from trainer_models import QUIET, Net, regression

import thunderhead as th
from thunderhead.loggers import CSVLogger
from thunderhead.loggers.logger import Logger


class Steps(Logger):
    """Remembers the steps at which step values came."""

    def __init__(self) -> None:
        self.steps: list[int | None] = []

    @property
    def name(self) -> str:
        return "steps"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "value_step" in metrics:
            self.steps.append(step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Not looked at."""


class Logging(Net):
    """Logs in each step, and asks for the end after its third batch."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("value", loss, on_step=True, on_epoch=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trainer.should_stop = batch_idx == 2 or self.trainer.should_stop


def loader(count: int = 40, **options: Any) -> DataLoader[Any]:
    return DataLoader(regression(count), batch_size=4, **options)


@pytest.mark.parametrize(("every", "min_steps", "steps"), [(10, None, [2]), (4, 5, list(range(2, 10))), (0, None, [])])
def test_a_step_in_which_the_end_was_asked_for_is_logged(every: int, min_steps: int | None, steps: list[int]) -> None:
    logger = Steps()
    arguments = {**QUIET, "logger": logger, "max_epochs": 1, "log_every_n_steps": every, "min_steps": min_steps}
    th.Trainer(**arguments).fit(Logging(), loader())
    assert logger.steps == steps


class Modes(Net):
    """Calls the base of a hook that the trainer only calls where it is overridden."""

    def on_validation_model_train(self) -> None:
        super().on_validation_model_train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        assert self.net.training


def test_the_base_of_on_validation_model_train_trains() -> None:
    model = Modes()
    th.Trainer(**QUIET, max_epochs=2).fit(model, loader(), loader())
    assert model.training


class NoIndex(Net):
    """Validates without an argument for the loader."""

    started = False

    def on_validation_start(self) -> None:
        self.started = True

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing."""


def test_a_step_that_cannot_tell_loaders_apart_is_refused_before_its_hooks() -> None:
    model = NoIndex()
    with pytest.raises(RuntimeError, match="dataloader_idx"):
        th.Trainer(**QUIET, max_epochs=1).fit(model, loader(), [loader(), loader()])
    assert not model.started


class Skipping(Net):
    """Ends its epoch at the second batch."""

    last: bool | None = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 1 else None

    def on_train_epoch_end(self) -> None:
        self.last = self.trainer.is_last_batch


def test_the_batch_that_ends_the_epoch_early_is_its_last() -> None:
    model = Skipping()
    th.Trainer(**QUIET, max_epochs=1).fit(model, loader())
    assert model.last is True


def test_several_loaders_begin_before_one_draws_its_order() -> None:
    """torch draws a number as a loader is iterated, and its order at the first batch."""

    def indices() -> dict[str, DataLoader[Any]]:
        return {name: DataLoader(TensorDataset(torch.arange(9.0)), 3, shuffle=True) for name in "ab"}

    class Seen(Net):
        seen: list[Any] = []  # noqa: RUF012  # one run only

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.seen += [batch[name][0].tolist() for name in "ab"]
            return next(self.parameters()).sum()

    torch.manual_seed(3)
    pair = [iter(found) for found in indices().values()]
    expected = [part[0].tolist() for _ in range(3) for part in (next(pair[0]), next(pair[1]))]
    torch.manual_seed(0)
    model = Seen()
    torch.manual_seed(3)
    th.Trainer(**QUIET, max_epochs=1).fit(model, indices())
    assert model.seen == expected


def test_hyperparameters_alone_make_a_file_of_them(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0})
    logger.save()
    written = Path(logger.log_dir, "hparams.yaml")
    assert not written.exists()
    logger.log_hyperparams({"lr": 1})
    logger.save()
    assert written.read_text() == "lr: 1\n"
