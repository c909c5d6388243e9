"""The batch size search: what it tries, what it finds, and that it leaves no trace but that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from trainer_models import QUIET, Net, bits, regression, shuffled
from trainer_ranks import run_ranks
from trainer_resumes import same

import thunderhead as th
from thunderhead.callbacks import BatchSizeFinder
from thunderhead.callbacks.batch_size_search import Wanted, largest
from thunderhead.exceptions import MisconfigurationException
from thunderhead.rng import capture_rng
from thunderhead.tuner import Tuner


def tried(fitting: int, samples: float = 10**9, **options: Any) -> tuple[list[int], int]:
    """What is tried where ``fitting`` samples fit, and what is found."""
    sizes: list[int] = []
    wanted = {"mode": "power", "first": 2, "trials": 25, "most": 8192, "margin": 0.0, **options}

    def attempt(size: int) -> float | None:
        sizes.append(size)
        return samples if size <= fitting else None

    return sizes, largest(Wanted(**wanted), attempt)


@pytest.mark.parametrize(
    ("most", "options", "sizes", "found"),
    [
        (20, {}, [2, 4, 8, 16, 32], 16),
        (1, {}, [2, 1], 1),
        (10**6, {"most": 100}, [2, 4, 8, 16, 32, 64, 100], 100),
        (10**6, {"trials": 3}, [2, 4, 8], 8),
        (10**6, {"samples": 20}, [2, 4, 8, 16, 32], 32),
        (5, {"first": 64}, [64, 32, 16, 8, 4], 4),
        (10**6, {"first": 64, "most": 16}, [16], 16),
        (20, {"mode": "binsearch"}, [2, 4, 8, 16, 32, 24, 20, 22, 21], 20),
        (20, {"mode": "binsearch", "margin": 0.25}, [2, 4, 8, 16, 32, 24, 20, 22, 21], 15),
        (1, {"mode": "binsearch"}, [2, 1], 1),
        (5, {"mode": "binsearch", "first": 64}, [64, 32, 16, 8, 4, 6, 5], 5),
        (10**6, {"mode": "binsearch", "most": 8, "margin": 0.05}, [2, 4, 8], 7),
        (1, {"mode": "binsearch", "margin": 0.9}, [2, 1], 1),
    ],
)
def test_sizes(most: int, options: dict[str, Any], sizes: list[int], found: int) -> None:
    assert tried(most, **options) == (sizes, found)


def test_nothing_fits() -> None:
    with pytest.raises(MisconfigurationException, match="batch size 1 does not fit into memory, and the search ended"):
        tried(0)


class Sized(Net):
    """Runs out of memory with batches above ``most``."""

    def __init__(self, most: int = 12, batch_size: int = 8, where: str = "batch_size") -> None:
        super().__init__(scheduler="none")
        setattr(self, where, batch_size)
        self.where, self.most = where, most
        self.seen: list[int] = []

    def _look(self, batch: Any) -> None:
        self.seen.append(len(batch[0]))
        if len(batch[0]) > self.most:
            raise torch.OutOfMemoryError("out of memory")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self._look(batch)
        return super().training_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._look(batch)

    validation_step = predict_step = test_step

    def train_dataloader(self) -> Any:
        return shuffled(batch_size=getattr(self, self.where))

    def test_dataloader(self) -> Any:
        return DataLoader(regression(), batch_size=getattr(self, self.where))

    val_dataloader = predict_dataloader = test_dataloader


def trainer(*callbacks: th.Callback, **options: Any) -> th.Trainer:
    return th.Trainer(**{**QUIET, "max_epochs": 1, **options}, callbacks=list(callbacks))


@pytest.mark.parametrize("method", ["fit", "validate", "test", "predict"])
def test_the_size_is_found_and_set(method: str) -> None:
    net = Sized()
    assert Tuner(trainer()).scale_batch_size(net, method=method) == 8
    assert net.batch_size == 8
    assert net.seen == []  # a copy has tried


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_modes(mode: str) -> None:
    found = Tuner(trainer()).scale_batch_size(Sized(), mode=mode, margin=0.0)
    assert found == (8 if mode == "power" else 12)


def test_a_datamodule_holds_it() -> None:
    class Data(th.LightningDataModule):
        batch_size = 2

        def train_dataloader(self) -> Any:
            return shuffled(batch_size=self.batch_size)

    data, net = Data(), Sized(where="other")
    assert Tuner(trainer()).scale_batch_size(net, datamodule=data) == 8
    assert data.batch_size == 8
    made = trainer()
    made.fit(net, datamodule=data)
    assert set(net.seen) == {8}


def test_hyperparameters_hold_it() -> None:
    class Kept(Sized):
        def __init__(self, batch_size: int = 4) -> None:
            super().__init__(where="other")
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return shuffled(batch_size=self.hparams.batch_size)

    net = Kept()
    assert Tuner(trainer()).scale_batch_size(net) == 8
    assert net.hparams.batch_size == 8


def test_another_name() -> None:
    net = Sized(where="bs")
    assert Tuner(trainer()).scale_batch_size(net, batch_arg_name="bs") == 8
    assert net.bs == 8


@pytest.mark.parametrize("method", ["fit", "validate", "test", "predict"])
def test_a_callback_goes_on_with_it(method: str) -> None:
    net, callback = Sized(batch_size=2), BatchSizeFinder()
    getattr(trainer(callback), method)(net)
    assert callback.optimal_batch_size == 8
    assert set(net.seen) == {8}


def test_loaders_that_were_asked_for_before() -> None:
    class Early(Sized):
        def configure_optimizers(self) -> Any:
            assert self.trainer.estimated_stepping_batches > 0
            return super().configure_optimizers()

    net = Early(batch_size=2)
    made = trainer(BatchSizeFinder())
    made.fit(net)
    assert set(net.seen) == {8}
    assert made.num_training_batches == 5


def outcome(*, search: bool) -> dict[str, Any]:
    th.seed_everything(7, verbose=False)
    net, made = Sized(), trainer(max_epochs=2)
    if search:
        assert Tuner(made).scale_batch_size(net) == 8
    made.fit(net)
    return {
        "weights": net.state_dict(),
        "optimizer": made.optimizers[0].state_dict(),
        "metrics": made.callback_metrics,
        "position": (made.current_epoch, made.global_step, made.max_steps, made.max_epochs),
        "random": capture_rng()["torch"],
        "seen": net.seen,
    }


def test_the_run_after_a_search_is_that_without_one() -> None:
    assert same(outcome(search=True), outcome(search=False)) == ""


def test_a_resumed_run_goes_on_with_what_was_found(tmp_path: Path) -> None:
    class Saves(th.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                trainer.save_checkpoint(tmp_path / "x.ckpt")

    nets = [Sized(batch_size=2) for _ in range(2)]
    th.seed_everything(1, verbose=False)
    trainer(BatchSizeFinder(), Saves()).fit(nets[0])
    th.seed_everything(1, verbose=False)
    again = Sized(batch_size=2, most=3)  # a search would find less by now
    again.most = 3
    again._look = lambda batch: None  # type: ignore[method-assign]
    trainer(BatchSizeFinder()).fit(again, ckpt_path=tmp_path / "x.ckpt")
    assert again.batch_size == 8
    assert bits(again) == bits(nets[0])


def test_another_error_is_no_lack_of_memory() -> None:
    class Wrong(Sized):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("shapes do not match")

    net = Wrong()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Tuner(trainer()).scale_batch_size(net)
    assert net.batch_size == 8


def test_fast_dev_run() -> None:
    with pytest.warns(UserWarning, match="the batch size search is left out under fast_dev_run"):
        assert Tuner(trainer(fast_dev_run=True)).scale_batch_size(Sized()) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "train"}, "Tuner.scale_batch_size: method='train' does not exist"),
        ({"method": "test", "train_dataloaders": []}, r"scale_batch_size\(method='test'\) takes dataloaders or a data"),
        ({"mode": "double"}, "batch size search: mode='double' does not exist"),
        ({"margin": 1.0}, "margin=1.0 must be a share from 0 to below 1"),
        ({"init_val": 0}, "init_val=0 must be an integer of at least 1"),
        ({"batch_arg_name": "size"}, "there is no 'size' in Sized, nor in their hyperparameters; set self.size"),
        ({"train_dataloaders": shuffled()}, "makes loaders anew for each size, but Trainer.fit was passed some"),
    ],
)
def test_what_cannot_be_searched(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        Tuner(trainer()).scale_batch_size(Sized(), **options)


def test_several_evaluation_loaders() -> None:
    class Two(Sized):
        def test_dataloader(self) -> Any:
            return [DataLoader(regression(), batch_size=self.batch_size) for _ in range(2)]

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            """Nothing."""

    with pytest.raises(MisconfigurationException, match="runs with one loader, and there are 2 to test"):
        Tuner(trainer()).scale_batch_size(Two(), method="test")


def on_rank(rank: int) -> str:
    try:
        Tuner(trainer(strategy="ddp")).scale_batch_size(Sized())
    except MisconfigurationException as error:
        return str(error)
    return ""


def test_several_ranks(tmp_path: Path) -> None:
    for said in run_ranks(on_rank, 2, tmp_path):
        assert said.startswith("the batch size search runs on one rank, and there are 2: ranks that run out of memory")
