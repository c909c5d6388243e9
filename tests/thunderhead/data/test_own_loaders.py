"""What users gave comes back to them: loaders, collections and datasets."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from trainer_models import QUIET

import thunderhead as th
from thunderhead import CombinedLoader, MisconfigurationException


class Each(th.LightningModule):
    """Takes any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.weight * 1.0

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None: ...

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None: ...

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> int:
        return batch_idx

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class Batches:
    """An iterable of two batches."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter([torch.zeros(1), torch.ones(1)])

    def __len__(self) -> int:
        return 2


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.ones(3))


def loader(samples: int = 4, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(samples)), 2, **options)


MADE = {
    "map-style": loader,
    "shuffled": lambda: loader(shuffle=True),
    "with a sampler": lambda: loader(sampler=[3, 2, 1, 0]),
    "unbatched": lambda: DataLoader(TensorDataset(torch.ones(4)), batch_size=None),
    "a stream": lambda: DataLoader(Stream()),
    "another iterable": Batches,
}


@pytest.mark.filterwarnings("ignore:the (val|test|predict) loader shuffles")
@pytest.mark.parametrize("kind", MADE)
def test_a_loader_comes_back(kind: str) -> None:
    train, val, test, predict = (MADE[kind]() for _ in range(4))
    trainer, module = th.Trainer(**QUIET, max_epochs=1), Each()
    trainer.fit(module, train, val)
    assert trainer.train_dataloader is train
    assert trainer.val_dataloaders is val
    trainer.test(module, test, verbose=False)
    assert trainer.test_dataloaders is test
    trainer.predict(module, predict)
    assert trainer.predict_dataloaders is predict


def test_loaders_of_a_collection_come_back_in_it() -> None:
    one, other = loader(), loader(8)
    trainer, module = th.Trainer(**QUIET, max_epochs=1), Each()
    trainer.fit(module, {"a": one, "b": [other]}, [other, one])
    assert list(trainer.train_dataloader) == ["a", "b"]
    assert trainer.train_dataloader["a"] is one
    assert trainer.train_dataloader["b"][0] is other
    assert [found is given for found, given in zip(trainer.val_dataloaders, [other, one], strict=True)] == [True] * 2
    assert (trainer.num_training_batches, trainer.num_val_batches) == (4, [4, 2])
    trainer.validate(module, CombinedLoader([one, other], "max_size"), verbose=False)
    assert trainer.val_dataloaders[1] is other


def test_loaders_of_hooks_come_back() -> None:
    class Gives(Each):
        made: DataLoader[Any] = loader()

        def train_dataloader(self) -> Any:
            return self.made

    trainer, module = th.Trainer(**QUIET, max_epochs=1), Gives()
    trainer.fit(module)
    assert trainer.train_dataloader is module.made


@pytest.mark.filterwarnings("ignore:overfit_batches reads the data in order")
def test_one_that_was_replaced_does_not() -> None:
    train = loader(shuffle=True)
    trainer = th.Trainer(**QUIET, max_epochs=1, overfit_batches=1)
    trainer.fit(Each(), train)
    assert trainer.train_dataloader is not train


def test_streams_are_predicted_one_after_the_other() -> None:
    loaders = [DataLoader(Stream(), 2), loader(), DataLoader(Stream())]
    trainer = th.Trainer(**QUIET)
    assert trainer.predict(Each(), loaders) == [[0, 1], [0, 1], [0, 1, 2]]
    assert trainer.num_predict_batches == [float("inf"), 2, float("inf")]
    assert th.Trainer(**QUIET, limit_predict_batches=1).predict(Each(), loaders) == [[0], [0], [0]]


@pytest.mark.parametrize("make", [copy.deepcopy, lambda combined: pickle.loads(pickle.dumps(combined))])
@pytest.mark.parametrize("begun", [False, True])
def test_a_combined_loader_can_be_copied(make: Any, begun: bool) -> None:
    combined = CombinedLoader({"a": loader(), "b": loader(8)}, "max_size")
    if begun:
        next(iter(combined))
    copied = make(combined)
    assert len(list(copied)) == len(copied) == 4
    assert copied.mode == "max_size"


def test_its_loaders_can_be_replaced_by_as_many() -> None:
    combined = CombinedLoader({"a": loader(), "b": [loader()]}, "min_size")
    others = [loader(8), loader(6)]
    combined.flattened = others
    assert combined.iterables["a"] is others[0]
    assert combined.iterables["b"][0] is others[1]
    assert len(list(combined)) == 3
    with pytest.raises(MisconfigurationException, match="are 1 loaders, to be put in the places of 2"):
        combined.flattened = others[:1]


def test_next_goes_on_where_iter_began() -> None:
    combined = CombinedLoader([Batches(), Batches()], "sequential")
    with pytest.raises(StopIteration):
        next(combined)
    iter(combined)
    assert [next(combined)[1:] for _ in range(4)] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    with pytest.raises(StopIteration):
        next(combined)


class Data(th.LightningDataModule):
    def __init__(self, scale: float = 1.0, batch_size: int = 9) -> None:
        super().__init__()
        self.scale, self.batch_size = scale, batch_size


class Anything(th.LightningDataModule):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.got = kwargs


def test_datasets_pass_the_constructor_what_it_takes() -> None:
    dataset = TensorDataset(torch.ones(3))
    made = Data.from_datasets(dataset, batch_size=2, scale=3.0)
    assert isinstance(made, Data)
    assert (made.scale, made.batch_size) == (3.0, 2)
    everything = Anything.from_datasets(dataset, num_workers=0, colour="red")
    assert isinstance(everything, Anything)
    assert everything.got == {"batch_size": 1, "num_workers": 0, "colour": "red"}
    with pytest.raises(TypeError, match="colour"):
        Data.from_datasets(dataset, colour="red")


def test_a_datamodule_is_shown_with_its_loaders() -> None:
    sets: list[Dataset[Any]] = [TensorDataset(torch.ones(count)) for count in (3, 4, 5)]
    made = th.LightningDataModule.from_datasets({"a": sets[0]}, sets[1:], predict_dataset=Stream())
    assert str(made).splitlines() == [
        "Train dataloader: {a: size=3}",
        "Val dataloader: [size=4, size=5]",
        "Test dataloader: none",
        "Predict dataloader: size unknown",
    ]


def test_one_that_is_not_set_up_is_shown_as_well() -> None:
    class Late(th.LightningDataModule):
        def train_dataloader(self) -> Any:
            return self.made  # type: ignore[attr-defined]  # by setup

        def val_dataloader(self) -> Any:
            return Batches()

    shown = str(Late()).splitlines()
    assert shown[0].startswith("Train dataloader: not there yet (AttributeError: ")
    assert shown[1] == "Val dataloader: size=2"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limit_train_batches": 0.5}, MisconfigurationException),
        ({"limit_val_batches": 0.5}, MisconfigurationException),
        ({"overfit_batches": 0.5}, MisconfigurationException),
        ({"val_check_interval": 0.5}, MisconfigurationException),
    ],
    ids=str,
)
def test_a_share_of_what_has_no_length_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="has no length"):
        th.Trainer(**QUIET, max_epochs=1, **arguments).fit(Each(), DataLoader(Stream()), DataLoader(Stream()))


@pytest.mark.parametrize(
    "run",
    [
        lambda trainer: trainer.validate(),
        lambda trainer: trainer.fit(Each(), 1),
        lambda trainer: trainer.fit(Each(), datamodule=3),
        lambda trainer: trainer.fit(nn.Linear(1, 1)),
    ],
)
def test_what_is_of_the_wrong_type_is_a_type_error(run: Any) -> None:
    with pytest.raises(TypeError):
        run(th.Trainer(**QUIET, max_epochs=1))
