"""What was still to come when a hook wrote a file is done by the run that goes on from it, and nothing twice."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from trainer_logging import Records
from trainer_models import QUIET

import thunderhead as th
from thunderhead.callbacks import Callback, ModelCheckpoint

Pair = namedtuple("Pair", "x y")


class Small(th.LightningModule):
    """One weight; an average of it in a hook of its own, and every epoch's rate."""

    def __init__(self, interval: str = "", **loaders: Any) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("average", torch.zeros(1))
        self.interval, self.rates, self.asked = interval, list[float](), list[int]()
        self.loaders = loaders

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        loss = (self.weight * batch[0] - 1).square().mean() * 0.01
        self.log("loss", 1.0 + self.global_step, on_epoch=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.average.mul_(0.5).add_(self.weight.detach() + outputs["loss"])
        self.log("ended", 1.0, on_step=False, on_epoch=True, reduce_fx="sum")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", float(batch_idx), on_step=True, on_epoch=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        if not self.interval:
            return optimizer
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": "loss_step", "interval": self.interval},
        }

    def train_dataloader(self) -> Any:
        self.asked.append(self.current_epoch)
        return numbers(6, **self.loaders)


def numbers(count: int, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(1.0, 1 + count)[:, None]), 2, **options)


class SaveAt(Callback):
    """Writes ``<hook>.ckpt`` at one call of one hook."""

    def __init__(self, folder: Path, hook: str, call: int) -> None:
        self.path = folder / f"{hook}.ckpt"
        calls = iter(range(1000))

        def save(trainer: Any, *args: Any, **kwargs: Any) -> None:
            if next(calls) == call:
                trainer.save_checkpoint(self.path)

        setattr(self, hook, save)


def fit(
    model: Small, *callbacks: Callback, ckpt_path: Any = None, val: bool = True, **options: Any
) -> tuple[th.Trainer, Records]:
    records = Records()
    arguments = {**QUIET, "enable_checkpointing": None, "max_epochs": 3, "num_sanity_val_steps": 0, **options}
    if not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        arguments["enable_checkpointing"] = False
    made = th.Trainer(**{**arguments, "logger": records, "log_every_n_steps": 1}, callbacks=list(callbacks))
    made.fit(model, val_dataloaders=numbers(3) if val else None, ckpt_path=ckpt_path)
    return made, records


OTHERS = pytest.mark.filterwarnings("ignore:the checkpoint holds state of callbacks that this Trainer does not have")


@OTHERS
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("moment", [{}, {"every_n_train_steps": 1}, {"save_on_train_epoch_end": True}])
def test_no_plateau_step_is_lost_or_made_twice(tmp_path: Path, interval: str, moment: dict[str, Any]) -> None:
    whole = Small(interval)
    fit(whole, ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", **moment))
    assert len(set(whole.rates)) > 1
    files = [tmp_path / f"step={step}.ckpt" for step in range(1, 9)]
    for path in filter(Path.exists, files):
        resumed = Small(interval)
        fit(resumed, ckpt_path=path)
        assert resumed.rates == whole.rates[len(whole.rates) - len(resumed.rates) :], path.name


@OTHERS
@pytest.mark.parametrize("saver", ["callback", "ModelCheckpoint"])
def test_the_modules_own_end_of_the_batch(tmp_path: Path, saver: str) -> None:
    def made() -> list[Callback]:
        own = ModelCheckpoint(tmp_path, every_n_train_steps=5, filename="own", save_top_k=-1)
        return [own] if saver == "ModelCheckpoint" else [SaveAt(tmp_path, "on_train_batch_end", 4)]

    whole, resumed = Small(), Small()
    end, rows = fit(whole, *made(), val=False)
    path = next(tmp_path.iterdir())
    held = torch.load(path, weights_only=True)["thunderhead"]
    assert (held["hand"] is None) == (saver == "ModelCheckpoint")
    found, later = fit(resumed, ckpt_path=path, val=False)
    assert torch.equal(resumed.average, whole.average)
    assert rows.seen[-len(later.seen) :] == later.seen
    assert dict(rows.seen[-1][1])["ended"] == 3.0
    assert found.callback_metrics == end.callback_metrics


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_train_batch_end", "on_validation_end"])
def test_the_gradients_of_an_open_window_and_the_x_axis(tmp_path: Path, hook: str) -> None:
    options: dict[str, Any] = {"accumulate_grad_batches": 3, "val_check_interval": 2}
    call = {"on_train_batch_start": 4, "on_train_batch_end": 3, "on_validation_end": 1}[hook]
    whole, resumed = Small(), Small()
    whole.loaders = resumed.loaders = {"shuffle": True}
    th.seed_everything(1)
    _, rows = fit(whole, SaveAt(tmp_path, hook, call), **options)
    assert torch.load(tmp_path / f"{hook}.ckpt")["thunderhead"]["gradients"]["weight"].item() != 0
    _, later = fit(resumed, ckpt_path=tmp_path / f"{hook}.ckpt", **options)
    assert torch.equal(resumed.weight, whole.weight)
    assert rows.seen[-len(later.seen) :] == later.seen


class ByHand(Small):
    """Steps every other batch, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        if self.trainer.fit_loop.batches_done % 2:
            self.optimizers().step()
            self.optimizers().zero_grad()
        return {"loss": loss.detach()}


def test_gradients_that_a_module_adds_up_by_hand(tmp_path: Path) -> None:
    whole, resumed = ByHand(), ByHand()
    fit(whole, SaveAt(tmp_path, "on_train_batch_end", 3), val=False)
    fit(resumed, ckpt_path=tmp_path / "on_train_batch_end.ckpt", val=False)
    assert torch.equal(resumed.weight, whole.weight)


def test_loaders_are_asked_for_when_they_would_have_been(tmp_path: Path) -> None:
    options: dict[str, Any] = {"reload_dataloaders_every_n_epochs": 2, "max_epochs": 6}
    whole = Small()
    fit(whole, *[SaveAt(tmp_path / str(epoch), "on_train_epoch_end", epoch) for epoch in range(5)], **options)
    assert whole.asked == [0, 2, 4]
    for epoch, asked in ((0, [0, 2, 4]), (1, [2, 4]), (2, [2, 4]), (3, [4]), (4, [4])):
        resumed = Small()
        fit(resumed, ckpt_path=tmp_path / str(epoch) / "on_train_epoch_end.ckpt", **options)
        assert resumed.asked == asked, epoch


def test_an_evaluation_of_a_file_belongs_to_its_step(tmp_path: Path) -> None:
    trainer, _ = fit(Small())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    records = Records()
    later = th.Trainer(**{**QUIET, "logger": records})
    later.validate(Small(), numbers(3), ckpt_path=tmp_path / "a.ckpt", verbose=False)
    assert [(step, row["epoch"]) for step, row in records.seen if "val_epoch" in row] == [(9, 3)]
    assert later.global_step == 0  # a fit begins at the beginning


def test_callbacks_are_known_by_name(tmp_path: Path) -> None:
    class Counts(Callback):
        ends = 0

        def on_train_batch_end(self, *args: Any) -> None:
            self.ends += 1

    class Other(Counts):
        """Not there when the file was written."""

    fit(Small(), Counts(), SaveAt(tmp_path, "on_train_batch_end", 7), val=False)
    counts, other = Counts(), Other()
    fit(Small(), other, counts, ckpt_path=tmp_path / "on_train_batch_end.ckpt", val=False)
    assert (counts.ends, other.ends) == (1, 1)  # the last batch: in the file's own, the first had been called


def test_a_batch_that_no_file_can_hold_is_told_of(tmp_path: Path) -> None:
    def collate(samples: Any) -> Pair:
        return Pair(*[torch.stack([sample[0] for sample in samples])] * 2)

    with pytest.warns(UserWarning, match="batch of type Pair is in hand"):
        fit(Small(collate_fn=collate), SaveAt(tmp_path, "on_train_batch_end", 7), val=False)


def test_a_run_that_was_complete_stays_so(tmp_path: Path) -> None:
    fit(Small(), SaveAt(tmp_path, "on_train_epoch_end", 2))
    resumed = Small()
    end, rows = fit(resumed, ckpt_path=tmp_path / "on_train_epoch_end.ckpt")
    assert (resumed.rates, rows.seen, end.current_epoch) == ([], [], 3)
