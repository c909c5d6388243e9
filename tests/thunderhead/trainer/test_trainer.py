"""The Trainer seen from outside of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainer_models import QUIET, Net, bits, in_order, shuffled

import thunderhead as th


def test_making_a_module_in_its_final_form() -> None:
    trainer = th.Trainer(**QUIET, precision="64-true")
    with trainer.init_module():
        layer = nn.Linear(4, 2)
    assert layer.weight.dtype == torch.float64
    assert layer.weight.abs().sum() > 0
    assert nn.Linear(1, 1).weight.dtype == torch.float32


def test_making_a_module_without_filling_it(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = []
    original = torch.Tensor.uniform_

    def uniform(self: Any, *args: Any, **kwargs: Any) -> Any:
        filled.append(self.shape)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "uniform_", uniform)
    trainer = th.Trainer(**QUIET)
    with trainer.init_module(empty_init=True):
        nn.Linear(4, 2)
    assert filled == []
    with trainer.init_module():
        nn.Linear(4, 2)
    assert len(filled) == 2


def test_a_checkpoint_for_all_runs(tmp_path: Path) -> None:
    first = Net()
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(first, shuffled(), in_order())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = th.Trainer(**QUIET, max_epochs=2)
    other.ckpt_path = tmp_path / "a.ckpt"
    net = Net()
    other.validate(net, in_order(), verbose=False)
    assert bits(net) == bits(first)
    other.fit(Net(), shuffled(), in_order())
    assert other.global_step == 10
    assert other.ckpt_path == str(tmp_path / "a.ckpt")
    other.ckpt_path = None
    assert other.ckpt_path is None


def test_properties() -> None:
    trainer = th.Trainer(**QUIET, max_epochs=1)
    assert trainer.lightning_module is None
    trainer.fit(Net(), shuffled(), in_order())
    assert trainer.enable_validation
    assert trainer.distributed_sampler_kwargs == {}
    assert (trainer.world_size, trainer.global_rank, trainer.local_rank, trainer.node_rank) == (1, 0, 0, 0)
    assert trainer.is_global_zero
    assert (trainer.num_devices, trainer.num_nodes, trainer.device_ids) == (1, 1, [0])
    assert len(trainer.train_dataloader) == 5
    assert len(trainer.val_dataloaders) == 2
    assert trainer.state.finished
    assert [trainer.training, trainer.validating, trainer.interrupted] == [False, False, False]


def test_dry_runs_have_a_logger_that_takes_everything(tmp_path: Path) -> None:
    class Talkative(Net):
        def on_train_epoch_end(self) -> None:
            self.logger.experiment.add_histogram("weights", self.net[0].weight)
            self.logger.log_image("image", [1])
            self.logger.experiment[0]["x"] = 1

    quiet = {**QUIET, "logger": True, "default_root_dir": tmp_path}
    th.Trainer(**quiet, fast_dev_run=True).fit(Talkative(), shuffled(), in_order())
    assert list(tmp_path.iterdir()) == []
    assert th.Trainer(**QUIET, fast_dev_run=True).logger is None


def test_a_batch_that_is_none_is_skipped() -> None:
    """With a word; the batch counts, no step is made."""
    seen = []

    class Watching(th.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(("start", batch_idx))

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(("end", batch_idx))

    batches = [batch if n != 1 else None for n, batch in enumerate(shuffled())]
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[Watching()])

    class Some:
        def __iter__(self) -> Any:
            return iter(batches)

        def __len__(self) -> int:
            return 3

    with pytest.warns(UserWarning, match="gave None instead of a batch"):
        trainer.fit(Net(), Some())
    assert seen == [("start", 0), ("end", 0), ("end", 1), ("start", 2), ("end", 2)]
    assert trainer.global_step == 2


@pytest.mark.parametrize("fn", ["fit", "validate", "test", "predict"])
def test_loaders_and_a_datamodule_exclude_each_other(fn: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=f"Trainer.{fn} got loaders and a datamodule"):
        getattr(th.Trainer(**QUIET, max_epochs=1), fn)(Net(), in_order(), datamodule=th.LightningDataModule())


def test_a_datamodule_may_stand_in_the_place_of_loaders() -> None:
    class Data(th.LightningDataModule):
        train_dataloader = staticmethod(shuffled)
        val_dataloader = staticmethod(in_order)

    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Net(), Data())
    assert trainer.global_step == 5


def test_predictions() -> None:
    class Predicting(Net):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self(batch[0])

    trainer, net = th.Trainer(**QUIET), Predicting()
    one = trainer.predict(net, in_order())
    assert [tuple(part.shape) for part in one] == [(16, 1), (8, 1)]
    two = trainer.predict(net, [in_order(), in_order()])
    assert [[tuple(part.shape) for part in parts] for parts in two] == [[(16, 1), (8, 1)]] * 2
    assert trainer.predict(net, in_order(), return_predictions=False) is None


def test_what_is_no_module() -> None:
    with pytest.raises(TypeError, match="got a Linear; pass a LightningModule"):
        th.Trainer(**QUIET, max_epochs=1).fit(nn.Linear(1, 1))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(th.MisconfigurationException, match=r"Trainer.validate needs a module"):
        th.Trainer(**QUIET).validate()
