"""``overfit_batches`` takes torch's own shuffling away, and nothing that a dataset or a loader needs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, SubsetRandomSampler, TensorDataset
from trainer_models import QUIET, Net

import thunderhead as th


class Numbers(Dataset[torch.Tensor]):
    """Takes queries, not indices."""

    def __getitem__(self, query: Any) -> torch.Tensor:
        return torch.tensor([float(query["number"])])

    def __len__(self) -> int:
        return 10


class Streamed(IterableDataset[torch.Tensor]):
    """Has no length, and an order of its own."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.arange(10.0).unsqueeze(1))


class Given(Sampler[Any]):
    """Gives these."""

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __iter__(self) -> Iterator[Any]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)


QUERIES = Given(*({"number": number} for number in (7, 3, 5, 1)))
PLAIN = TensorDataset(torch.arange(10.0).unsqueeze(1))


@pytest.mark.parametrize(
    ("loader", "seen", "said"),
    [
        (lambda: DataLoader(Streamed(), batch_size=2), [[0, 1], [2, 3]], None),
        (lambda: DataLoader(Numbers(), sampler=QUERIES), [[7], [3]], "keeps the order of Given"),
        (lambda: DataLoader(Numbers(), sampler=QUERIES, batch_size=2), [[7, 3], [5, 1]], "keeps the order of Given"),
        (lambda: DataLoader(PLAIN, batch_sampler=Given([1, 2, 3], [4], [5, 6])), [[1, 2, 3], [4]], None),
        (
            lambda: DataLoader(PLAIN, sampler=SubsetRandomSampler([9, 4, 6]), batch_size=2),
            [[9, 4], [6]],
            "switched off",
        ),
        (lambda: DataLoader(PLAIN, batch_size=2, shuffle=True), [[0, 1], [2, 3]], "switched off"),
        (lambda: DataLoader(PLAIN, batch_size=2), [[0, 1], [2, 3]], None),
    ],
    ids=["iterable", "queries", "queries in batches", "batches", "a subset", "shuffled", "in order"],
)
def test_overfitting_leaves_what_is_not_torchs_shuffling(
    loader: Any, seen: list[list[int]], said: str | None, recwarn: pytest.WarningsRecorder
) -> None:
    found: list[list[float]] = []

    class Watching(th.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            found.append((batch if isinstance(batch, torch.Tensor) else batch[0]).flatten().tolist())

    class Untouched(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self(torch.zeros(2, 4)).sum()

    warnings.simplefilter("always")
    th.Trainer(**QUIET, overfit_batches=2, max_epochs=2, callbacks=[Watching()]).fit(Untouched(), loader())
    assert found == seen * 2
    told = [str(warning.message) for warning in recwarn if "overfit_batches" in str(warning.message)]
    assert [said in text for text in told] == ([True] if said else []), told
