"""Ranks with different numbers of batches end every epoch together, whatever the loader and whatever comes between."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, IterableDataset
from trainer_line import Line, numbers
from trainer_models import QUIET, Net, in_order, regression
from trainer_ranks import run_ranks

import thunderhead as th


class Stream(IterableDataset[Any]):
    """A source without a length."""

    def __init__(self, samples: int) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[Any]:
        yield from regression(self._samples)


def _loaders(rank: int) -> dict[str, Any]:
    def sized(batches: int) -> Any:
        return DataLoader(regression(4 * batches), batch_size=4)

    def combined(mode: str) -> Any:
        return th.CombinedLoader({"a": sized(5 + rank), "b": sized(6 + rank)}, mode)

    return {
        "sized": sized(5 + rank),
        "stream": DataLoader(Stream(20 + 4 * rank), batch_size=4),
        "combined, shortest": combined("min_size"),
        "combined, longest": combined("max_size_cycle"),
    }


def test_epochs_end_together(tmp_path: Path) -> None:
    for found in run_ranks(_all, 2, tmp_path):
        # Batches per epoch, optimizer steps of two epochs, validations; with and without windows of two batches.
        assert found == {
            ("sized", 1): (5, 10, 4),
            ("sized", 2): (5, 6, 4),
            ("stream", 1): (5, 10, 4),
            ("stream", 2): (5, 6, 4),
            ("combined, shortest", 1): (5, 10, 4),
            ("combined, shortest", 2): (5, 6, 4),
            ("combined, longest", 1): (6, 12, 6),
            ("combined, longest", 2): (6, 6, 6),
        }


def _all(rank: int) -> dict[tuple[str, int], tuple[int, int, int]]:
    found = {}
    for name in _loaders(rank):
        for window in (1, 2):
            seen: list[str] = []

            class Watching(th.Callback):
                def on_train_batch_end(self, *_: Any, seen: list[str] = seen) -> None:
                    seen.append("batch")

                def on_validation_end(self, *_: Any, seen: list[str] = seen) -> None:
                    seen.append("validation")

            arguments = {"num_sanity_val_steps": 0, "val_check_interval": 2, "accumulate_grad_batches": window}
            trainer = th.Trainer(
                **QUIET, max_epochs=2, use_distributed_sampler=False, **arguments, callbacks=[Watching()]
            )
            trainer.fit(Net(), _loaders(rank)[name], in_order())
            found[name, window] = (seen.count("batch") // 2, trainer.global_step, seen.count("validation"))
    return found


def test_windows_are_cut_short_together_and_divide_alike(tmp_path: Path) -> None:
    """Five, six and seven batches in windows of two: the fifth is a window of its own, divided by two all the same.

    Rank r's batch number i holds 10r + i.
    """
    means = [10.0 + batch for batch in range(5)]
    weight = -2 * sum(means) / 2
    for rank, (fed, steps, found) in enumerate(run_ranks(_windows, 3, tmp_path)):
        assert fed == [10.0 * rank + batch for batch in range(5)] * 2
        assert steps == [0, 1, 1, 2, 3, 3, 4, 4, 5, 6]
        assert found == weight


def _windows(rank: int) -> tuple[list[float], list[int], float]:
    steps: list[int] = []
    watching = th.callbacks.LambdaCallback(on_train_batch_end=lambda trainer, *_: steps.append(trainer.global_step))
    trainer = th.Trainer(
        **QUIET, max_epochs=2, use_distributed_sampler=False, accumulate_grad_batches=2, callbacks=[watching]
    )
    module = Line()
    trainer.fit(module, numbers(*(10 * rank + batch for batch in range(5 + rank))))
    return module.fed, steps, module.weight.item()


def test_nobody_waits_in_the_midst_of_a_stream(tmp_path: Path) -> None:
    """Ranks that validate five and six batches of what has no length, and log each over all ranks."""
    (first, mean), (second, same) = run_ranks(_validated, 2, tmp_path)
    assert (first, second) == ([0.0, 1.0, 2.0, 3.0, 4.0], [10.0, 11.0, 12.0, 13.0, 14.0, 15.0])
    assert mean == same == pytest.approx((sum(first) + sum(second)) / 11)


class Count(IterableDataset[float]):
    def __init__(self, first: int, number: int) -> None:
        self._values = range(first, first + number)

    def __iter__(self) -> Iterator[float]:
        yield from map(float, self._values)


def _validated(rank: int) -> tuple[list[float], float]:
    seen: list[float] = []

    class Logs(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append(batch.item())
            self.log("value", batch.item(), on_step=True, on_epoch=True, sync_dist=True, batch_size=1)

    trainer = th.Trainer(**QUIET, use_distributed_sampler=False)
    stream = DataLoader(Count(10 * rank, 5 + rank), batch_size=1)
    with pytest.warns(UserWarning, match="loaders that do not tell it") if rank == 0 else contextlib.nullcontext():
        (found,) = trainer.validate(Logs(), stream, verbose=False)
    return seen, found["value_epoch"]
