"""Datamodules: made from datasets, asked per stage, and put before the module where both could answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset
from trainer_line import Line, numbers, trainer

import thunderhead as th


def dataset(*values: float) -> TensorDataset:
    """These numbers."""
    return TensorDataset(torch.tensor([float(value) for value in values]))


class Stream(IterableDataset[Any]):
    """Cannot be shuffled."""

    def __iter__(self) -> Any:
        return iter([(torch.ones(()),)] * 3)


def test_from_datasets() -> None:
    """Training data is shuffled, in each of a collection; nothing else is."""
    made = th.LightningDataModule.from_datasets(
        train_dataset={"a": dataset(1, 2), "b": dataset(3)},
        val_dataset=[dataset(4), dataset(5, 6)],
        test_dataset=dataset(7),
        batch_size=2,
        num_workers=0,
    )
    train, val, test = made.train_dataloader(), made.val_dataloader(), made.test_dataloader()
    assert {name: type(loader.sampler) for name, loader in train.items()} == {"a": RandomSampler, "b": RandomSampler}
    assert [type(loader.sampler) for loader in [*val, test]] == [SequentialSampler] * 3
    assert [loader.batch_size for loader in [*train.values(), *val, test]] == [2] * 5
    assert [len(loader) for loader in val] == [1, 1]
    with pytest.raises(th.MisconfigurationException, match="has no predict_dataloader; define it"):
        made.predict_dataloader()


def test_from_datasets_of_ones_own_class() -> None:
    class Own(th.LightningDataModule):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    made = Own.from_datasets(train_dataset=Stream(), predict_dataset=dataset(1), name="mine")
    assert (type(made), made.name) == (Own, "mine")
    assert made.train_dataloader().batch_size == 1
    assert len(list(made.train_dataloader())) == 3
    assert isinstance(made.predict_dataloader().sampler, SequentialSampler)


class Staged(th.LightningDataModule):
    """Writes down what it is asked, and of which stage."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def prepare_data(self) -> None:
        """Once."""
        self.asked.append("prepare")

    def setup(self, stage: str) -> None:
        """Which."""
        assert self.trainer is not None
        self.asked.append(("setup", stage))

    def teardown(self, stage: str) -> None:
        """Which."""
        self.asked.append(("teardown", stage))

    def train_dataloader(self) -> Any:
        """One number."""
        return numbers(1)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


class Evaluated(Line):
    """With the other steps, and loaders that would give something else."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """The batch."""
        return batch[0].item()

    def train_dataloader(self) -> Any:
        """Other numbers."""
        return numbers(7, 8)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


@pytest.mark.parametrize("fn", ["fit", "validate", "test", "predict"])
def test_every_stage_has_its_name_and_the_datamodule_comes_first(fn: str) -> None:
    data, module = Staged(), Evaluated()
    found = getattr(trainer(), fn)(module, datamodule=data)
    assert data.asked == ["prepare", ("setup", fn), ("teardown", fn)]
    assert module.fed == ([1] if fn == "fit" else [])
    assert found == ([1] if fn == "predict" else [{}] if fn in ("validate", "test") else None)


def test_the_module_fills_in_what_the_datamodule_lacks() -> None:
    class Partial(th.LightningDataModule):
        def val_dataloader(self) -> Any:
            return numbers(1)

    module = Evaluated()
    made = trainer(num_sanity_val_steps=0)
    made.fit(module, datamodule=Partial())
    assert (module.fed, module.validated) == ([7, 8], [2])


@pytest.mark.parametrize("owner", ["module", "datamodule"])
def test_data_is_prepared_once_per_node_or_once_in_all(owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this rank is neither the first of its node nor of all, it waits."""
    prepared: list[str] = []

    class Module(Evaluated):
        def prepare_data(self) -> None:
            prepared.append("module")

    class Data(Staged):
        def prepare_data(self) -> None:
            prepared.append("datamodule")

    for per_node, local, everywhere in ((True, 0, 1), (True, 1, 0), (False, 0, 1), (False, 1, 0)):
        module, data = Module(), Data()
        {"module": module, "datamodule": data}[owner].prepare_data_per_node = per_node
        made = trainer()
        monkeypatch.setattr(type(made.strategy), "local_rank", property(lambda self, rank=local: rank))
        monkeypatch.setattr(type(made.strategy), "global_rank", property(lambda self, rank=everywhere: rank))
        prepared.clear()
        made.fit(module, datamodule=data)
        assert (owner in prepared) == ((local if per_node else everywhere) == 0)


def test_what_is_no_loader() -> None:
    class Wrong(th.LightningDataModule):
        def train_dataloader(self) -> Any:
            return [numbers(1), 3]

    with pytest.raises(th.MisconfigurationException, match="train_dataloader gave an int, which cannot be iterated"):
        trainer().fit(Line(), datamodule=Wrong())


# --- reading ---------------------------------------------------------------------------------------------------------


class Read:
    """Counts the batches that were taken from it; with a length or without."""

    def __init__(self, batches: int) -> None:
        self.batches, self.taken = batches, 0

    def __iter__(self) -> Any:
        for _ in range(self.batches):
            self.taken += 1
            yield [torch.ones(1)]


class Sized(Read):
    """With a length."""

    def __len__(self) -> int:
        return self.batches


@pytest.mark.parametrize(("kind", "ahead"), [(Sized, 0), (Read, 1)])
def test_only_loaders_without_a_length_are_read_ahead(kind: type[Read], ahead: int) -> None:
    loader = kind(3)
    seen: list[tuple[int, bool]] = []

    class Looking(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append((loader.taken, self.trainer.is_last_batch))
            return super().training_step(batch, batch_idx)

    trainer().fit(Looking(), loader)
    assert seen == [(min(3, n + ahead), n == 3) for n in (1, 2, 3)]


@pytest.mark.parametrize("collect", [lambda loader: loader, lambda loader: [numbers(1), loader]])
def test_shuffled_evaluation_is_said(collect: Any) -> None:
    shuffled = DataLoader(dataset(1, 2), shuffle=True)

    class Two(Line):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            """Nothing."""

    with pytest.warns(UserWarning, match="the val loader shuffles; evaluation usually reads its data in order"):
        trainer().validate(Two(), collect(shuffled), verbose=False)
    trainer().validate(Two(), collect(numbers(1)), verbose=False)


def test_collections_of_training_loaders_start_the_shorter_again() -> None:
    seen: list[Any] = []

    class Both(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append({name: part[0].item() for name, part in batch.items()})
            return self.weight.sum()

    trainer().fit(Both(), {"a": numbers(1, 2, 3), "b": numbers(7, 8)})
    assert seen == [{"a": 1, "b": 7}, {"a": 2, "b": 8}, {"a": 3, "b": 7}]
