"""BasePredictionWriter: what is written, when, and which samples it is told of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset
from trainer_models import QUIET
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead.callbacks import BasePredictionWriter
from thunderhead.callbacks.prediction_writer import WriteInterval
from thunderhead.exceptions import MisconfigurationException


class Twice(th.LightningModule):
    """Predicts twice its input."""

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> torch.Tensor:
        return 2 * batch[0]


class Written(BasePredictionWriter):
    """Keeps what it is to write."""

    def __init__(self, interval: str = "batch") -> None:
        super().__init__(interval)
        self.batches: list[Any] = []
        self.epochs: list[Any] = []

    def write_on_batch_end(self, trainer: Any, pl_module: Any, prediction: Any, indices: Any, *where: Any) -> None:
        self.batches.append((prediction.tolist(), indices, *where[1:]))

    def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, indices: Any) -> None:
        self.epochs.append((predictions, indices))


def numbers(count: int, batch_size: int | None = 2, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(float(count))), batch_size=batch_size, **options)


def predict(writer: BasePredictionWriter, loaders: Any, *, returns: bool | None = False, **options: Any) -> Any:
    trainer = th.Trainer(**{**QUIET, **options}, callbacks=writer)
    return trainer.predict(Twice(), loaders, return_predictions=returns)


def as_lists(data: Any) -> Any:
    return data.tolist() if isinstance(data, torch.Tensor) else [as_lists(item) for item in data]


@pytest.mark.parametrize("interval", ["batch", "epoch", "batch_and_epoch"])
@pytest.mark.parametrize("returns", [None, True, False])
def test_what_is_written_when(interval: str, returns: bool | None) -> None:
    writer = Written(interval)
    found = predict(writer, numbers(5), returns=returns)
    assert writer.batches == (
        [([0.0, 2.0], [0, 1], 0, 0), ([4.0, 6.0], [2, 3], 1, 0), ([8.0], [4], 2, 0)] if "batch" in interval else []
    )
    ends = [(as_lists(predictions), indices) for predictions, indices in writer.epochs]
    assert ends == ([([[0.0, 2.0], [4.0, 6.0], [8.0]], [[[0, 1], [2, 3], [4]]])] if "epoch" in interval else [])
    assert found is None if returns is False else as_lists(found) == [[0.0, 2.0], [4.0, 6.0], [8.0]]


def test_several_loaders() -> None:
    writer = Written("batch_and_epoch")
    predict(writer, [numbers(3), numbers(2)])
    assert [batch[1:] for batch in writer.batches] == [([0, 1], 0, 0), ([2], 1, 0), ([0, 1], 0, 1)]
    predictions, indices = writer.epochs[0]
    assert as_lists(predictions) == [[[0.0, 2.0], [4.0]], [[0.0, 2.0]]]
    assert indices == [[[0, 1], [2]], [[0, 1]]]


def ordered(**options: Any) -> DataLoader[Any]:
    data = TensorDataset(torch.arange(4.0))
    return DataLoader(data, **options)


@pytest.mark.parametrize(
    ("loader", "indices"),
    [
        (lambda: ordered(batch_size=None), [[0], [1], [2], [3]]),
        (lambda: ordered(sampler=[3, 1], batch_size=1), [[3], [1]]),
        (lambda: ordered(batch_sampler=[[3, 0], [1]]), [[3, 0], [1]]),
        (lambda: ordered(batch_sampler=BatchSampler(SequentialSampler(range(4)), 3, drop_last=True)), [[0, 1, 2]]),
        (lambda: ordered(batch_size=2, num_workers=1), [[0, 1], [2, 3]]),
    ],
)
def test_indices_are_those_of_the_sampler(loader: Any, indices: list[list[int]]) -> None:
    writer = Written("batch_and_epoch")
    predict(writer, loader())
    assert [batch[1] for batch in writer.batches] == indices
    assert writer.epochs[0][1] == [indices]


def test_limit_predict_batches() -> None:
    writer = Written("epoch")
    predict(writer, numbers(9), limit_predict_batches=2)
    assert writer.epochs[0][1] == [[[0, 1], [2, 3]]]


def test_loaders_that_do_not_tell() -> None:
    class Plain:
        def __iter__(self) -> Iterator[Any]:
            yield [torch.ones(1)]

    writer = Written("batch_and_epoch")
    with pytest.warns(UserWarning, match="Written gets no batch_indices: the predict loader 0 has no sampler"):
        predict(writer, Plain())
    assert writer.batches[0][1] == []
    assert writer.epochs[0][1] == [[]]


def test_other_entry_points_are_left_alone() -> None:
    class Tested(Twice):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            """Nothing."""

    trainer = th.Trainer(**QUIET, callbacks=BasePredictionWriter("batch_and_epoch"))
    trainer.test(Tested(), numbers(2), verbose=False)


@pytest.mark.parametrize(("interval", "method"), [("batch", "write_on_batch_end"), ("epoch", "write_on_epoch_end")])
def test_a_method_that_is_not_overridden(interval: str, method: str) -> None:
    said = (
        rf"BasePredictionWriter\(write_interval='{interval}'\) calls {method}, which is not overridden; "
        "override it, or pass another write_interval"
    )
    with pytest.raises(NotImplementedError, match=said):
        predict(BasePredictionWriter(interval), Untouched())


def test_who_overrides_the_hook_itself_needs_no_such_method() -> None:
    """As pytorch-forecasting's do: all there is to write is collected in the hooks."""

    class Collects(BasePredictionWriter):
        def __init__(self) -> None:
            super().__init__("batch_and_epoch")
            self.heard: list[Any] = []

        def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            self.heard.append(outputs)

        def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.heard.append("end")

    collects = Collects()
    th.Trainer(**QUIET, callbacks=collects).predict(Twice(), numbers(2))
    assert len(collects.heard) > 1
    assert collects.heard[-1] == "end"


class Untouched:
    """What is refused is so before the first batch."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("a batch was read")


def test_steps_that_take_their_batches_themselves() -> None:
    class Taking(th.LightningModule):
        def predict_step(self, dataloader_iter: Any) -> Any:
            return next(dataloader_iter)

    with pytest.raises(NotImplementedError, match=r"Written with Taking.predict_step\(dataloader_iter\)"):
        th.Trainer(**QUIET, callbacks=Written()).predict(Taking(), numbers(2))


def test_intervals() -> None:
    with pytest.raises(MisconfigurationException, match="write_interval='epochs' does not exist"):
        Written("epochs")
    assert [(i.on_batch, i.on_epoch) for i in WriteInterval] == [(True, False), (False, True), (True, True)]


def on_rank(rank: int) -> list[Any]:
    writer = Written("batch_and_epoch")
    predict(writer, numbers(5), strategy="ddp")
    assert [batch[1] for batch in writer.batches] == writer.epochs[0][1][0]
    return [
        (value, index) for values, indices, *_ in writer.batches for value, index in zip(values, indices, strict=True)
    ]


def test_several_ranks_write_every_sample_once(tmp_path: Path) -> None:
    first, second = run_ranks(on_rank, 2, tmp_path)
    assert sorted([*first, *second]) == [(2.0 * index, index) for index in range(5)]
