"""What a Trainer says of loaders: under which conditions, in which category, once for a stage."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler
from trainer_models import QUIET

import thunderhead as th
from thunderhead.data.combined import CombinedLoader
from thunderhead.data.loader_warnings import suggested_max_num_workers, warn_of_loaders
from thunderhead.run import loaders as of_runs
from thunderhead.warning import PossibleUserWarning

ROWS: Dataset[Tensor] = torch.arange(8.0)[:, None]  # type: ignore[assignment]  # a tensor has a length and items


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.arange(8.0)[:, None])


class Sized(Stream):
    def __len__(self) -> int:
        return 8


class Bare:
    """No loader of torch's."""

    dataset = ROWS
    sampler = RandomSampler(range(8))

    def __iter__(self) -> Iterator[Tensor]:
        return iter([torch.ones(1, 1)])


def loader(data: Any = ROWS, **options: Any) -> DataLoader[Any]:
    return DataLoader(data, **options)


FEW = "has num_workers=0, so training may wait"
ANEW = "starts its processes anew"
PINNED = "pin_memory and persistent_workers"
ORDER = "loader shuffles"
LENGTH = "is an IterableDataset with a length"
SPAWNED = {"num_workers": 2, "multiprocessing_context": "spawn"}
KEPT = {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": "fork", "pin_memory": True}

# Loader, stage, workers that there is room for, whether it is reloaded: what is said.
TABLE: dict[str, tuple[Callable[[], Any], str, int, bool, dict[str, type[Warning]]]] = {
    "none, and room": (loader, "train", 3, False, {FEW: PossibleUserWarning}),
    "none, no room": (loader, "train", 1, False, {}),
    "one, and room": (lambda: loader(num_workers=1), "val", 3, False, {"num_workers=1": PossibleUserWarning}),
    "two": (lambda: loader(num_workers=2), "train", 7, False, {}),
    "spawned anew": (lambda: loader(**SPAWNED), "train", 7, False, {ANEW: UserWarning}),
    "spawned anew, no room": (lambda: loader(**SPAWNED), "train", 1, False, {ANEW: UserWarning}),
    "one, spawned anew": (lambda: loader(**{**SPAWNED, "num_workers": 1}), "test", 7, False, {ANEW: UserWarning}),
    "spawned, kept": (lambda: loader(**SPAWNED, persistent_workers=True), "train", 7, False, {}),
    "kept and pinned, reloaded": (lambda: loader(**KEPT), "train", 7, True, {PINNED: PossibleUserWarning}),
    "kept and pinned": (lambda: loader(**KEPT), "train", 7, False, {}),
    "kept, reloaded": (lambda: loader(**{**KEPT, "pin_memory": False}), "train", 7, True, {}),
    "two alike": (lambda: [loader(), loader()], "train", 3, False, {FEW: PossibleUserWarning}),
    "one of two": (lambda: {"a": loader(num_workers=2), "b": loader()}, "val", 3, False, {FEW: PossibleUserWarning}),
    "no loader of torch's": (lambda: [range(3)], "train", 3, False, {}),
    "shuffled training": (lambda: loader(shuffle=True), "train", 1, False, {}),
    "shuffled validation": (lambda: loader(shuffle=True), "val", 1, False, {ORDER: PossibleUserWarning}),
    "shuffled prediction": (lambda: loader(shuffle=True), "predict", 1, False, {ORDER: PossibleUserWarning}),
    "unbatched": (lambda: loader(shuffle=True, batch_size=None), "val", 1, False, {ORDER: PossibleUserWarning}),
    "shuffled by a batch sampler": (
        lambda: loader(batch_sampler=BatchSampler(RandomSampler(range(8)), 2, False)),
        "test", 1, False, {ORDER: PossibleUserWarning},
    ),
    "batches in order": (
        lambda: loader(batch_sampler=BatchSampler(SequentialSampler(range(8)), 2, False)), "test", 1, False, {},
    ),
    "a sampler of one's own": (lambda: loader(sampler=[3, 1, 2]), "val", 1, False, {}),
    "shuffled, no loader of torch's": (Bare, "val", 1, False, {ORDER: PossibleUserWarning}),
    "combined": (
        lambda: CombinedLoader([loader(), loader(shuffle=True)], "min_size"),
        "val", 3, False, {ORDER: PossibleUserWarning, FEW: PossibleUserWarning},
    ),
    "a stream": (lambda: loader(Stream()), "val", 1, False, {}),
    "a stream with a length": (lambda: loader(Sized()), "train", 1, False, {LENGTH: UserWarning}),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_what_is_said_of_loaders(case: str) -> None:
    made, stage, workers, reloads, said = TABLE[case]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        warn_of_loaders(made(), stage, workers=workers, reloads=reloads)
    assert len(heard) == len(said)
    for part, category in said.items():
        (one,) = [warning for warning in heard if part in str(warning.message)]
        assert one.category is category
        assert f"the {stage} loader" in str(one.message)


@pytest.mark.parametrize("ranks", [1, 2, 64])
def test_a_processor_is_left_to_each_rank(monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert suggested_max_num_workers(ranks) == {1: 15, 2: 7, 64: 1}[ranks]


class Line(th.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()  # type: ignore[no-any-return]

    def validation_step(self, batch: Tensor, batch_idx: int) -> None: ...

    def test_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None: ...

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


EMPTY = DataLoader([])  # type: ignore[var-annotated]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda t, m: t.fit(m, loader(), loader(shuffle=True)), ["the val loader shuffles"]),
        (lambda t, m: t.fit(m, EMPTY, loader()), ["the training loader is empty"]),
        (lambda t, m: t.fit(m, loader(), EMPTY), ["the val loader is empty"]),
        (lambda t, m: t.test(m, [loader(), EMPTY], verbose=False), ["the test loader 1 is empty"]),
        (lambda t, m: t.fit(m, loader(Sized()), loader()), ["the train loader's Sized"]),
        (lambda t, m: t.fit(m.eval(), loader(), loader()), ["training begins with 2 modules in evaluation mode"]),
    ],
)
def test_a_run_says_it_once(run: Callable[[th.Trainer, Line], Any], said: list[str]) -> None:
    trainer = th.Trainer(**{**QUIET, "max_epochs": 2, "num_sanity_val_steps": 1})
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        run(trainer, Line())
    assert [str(one.message).startswith(text) for one, text in zip(heard, said, strict=True)] == [True]


@pytest.mark.parametrize("limits", [{"limit_val_batches": 0}, {"limit_val_batches": 1}])
def test_a_limit_is_no_empty_loader(limits: dict[str, int]) -> None:
    th.Trainer(**{**QUIET, "max_epochs": 1, **limits}).fit(Line(), loader(), loader())


def test_a_run_asks_how_many_processes_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_runs, "suggested_max_num_workers", {1: 5}.__getitem__)
    with pytest.warns(PossibleUserWarning, match=r"the train loader has num_workers=0.*num_workers=5"):
        th.Trainer(**QUIET, max_epochs=1).fit(Line(), loader())
