"""Loaders' processes end with the run, however it ends: who waits for a collection of cycles waits for each of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import DataLoader, IterableDataset
from trainer_models import QUIET, Net, regression, shuffled

import thunderhead as th


class Failing(Net):
    """In its second batch."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1:
            raise LookupError("no such sample")
        return super().training_step(batch, batch_idx)


class Stream(IterableDataset[Any]):
    """Data without an order: its loader is iterated itself."""

    def __iter__(self) -> Iterator[Any]:
        return iter([regression(24)[index] for index in range(24)])


def loaders(persistent: bool) -> tuple[Any, Any]:
    options = {"num_workers": 1, "persistent_workers": persistent}
    return shuffled(**options), DataLoader(regression(24, seed=8), batch_size=8, **options)


@pytest.mark.parametrize("persistent", [False, True], ids=["of an epoch", "persistent"])
@pytest.mark.parametrize(
    ("module", "limits"),
    [
        (Net, {"max_steps": 2}),
        (Net, {"max_epochs": 2, "limit_train_batches": 2, "limit_val_batches": 1}),
        (Failing, {"max_epochs": 1}),
    ],
    ids=["in the midst of an epoch", "some batches of each", "by an error"],
)
def test_no_loader_process_outlives_fit(module: type[Net], limits: dict[str, Any], persistent: bool) -> None:
    before = set(multiprocessing.active_children())
    trainer = th.Trainer(**QUIET, **limits)
    caught = None
    try:
        trainer.fit(module(), *loaders(persistent))
    except LookupError as error:
        caught = error  # its traceback holds every frame
    assert (caught is not None) == (module is Failing)
    assert set(multiprocessing.active_children()) == before
    assert trainer.train_dataloader is not None
    assert trainer.validate(Net(), loaders(persistent)[1], verbose=False)


@pytest.mark.parametrize("persistent", [False, True], ids=["of an epoch", "persistent"])
def test_no_loader_process_outlives_an_evaluation(persistent: bool) -> None:
    before = set(multiprocessing.active_children())
    trainer = th.Trainer(**QUIET, limit_val_batches=1)
    trainer.validate(Net(), loaders(persistent)[1], verbose=False)
    assert set(multiprocessing.active_children()) == before


def test_a_second_fit_with_the_same_loaders() -> None:
    train, _ = loaders(persistent=True)
    for _ in range(2):
        trainer = th.Trainer(**QUIET, max_epochs=1, limit_train_batches=2)
        trainer.fit(Net(), train)
        assert trainer.global_step == 2


def test_persistent_processes_of_a_loader_that_is_read_as_it_is_stay_with_it() -> None:
    """They are the user's: the next run reads on with them."""
    iterable = DataLoader(Stream(), batch_size=8, num_workers=1, persistent_workers=True)
    for _ in range(2):
        trainer = th.Trainer(**QUIET, max_epochs=1, limit_train_batches=2)
        trainer.fit(Net(), iterable)
        assert trainer.global_step == 2
    assert iterable._iterator is not None
    assert all(worker.is_alive() for worker in iterable._iterator._workers)
    iterable._iterator._shutdown_workers()
