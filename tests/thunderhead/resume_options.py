"""Random options of a small run, from a seed: everything that decides on what follows a file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from trainer_models import Noisy

import thunderhead as th
from thunderhead.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint

FIT_HOOKS = ("on_fit_start", "on_train_start", "on_train_end")
EPOCH_HOOKS = ("on_train_epoch_start", "on_train_epoch_end")
BATCH_HOOKS = ("on_train_batch_start", "on_train_batch_end")
VALIDATION_HOOKS = (
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
)
SAVING_HOOKS = (*FIT_HOOKS, *EPOCH_HOOKS, *BATCH_HOOKS, *BATCH_HOOKS, *BATCH_HOOKS, *VALIDATION_HOOKS)
COUNTED = (*EPOCH_HOOKS, *BATCH_HOOKS, *VALIDATION_HOOKS)


@dataclass(frozen=True, slots=True)
class Options:
    """One run."""

    trainer: dict[str, Any]
    data: str
    samples: int
    val_loaders: int
    scheduler: tuple[str, str] | None
    frequency: int
    adam: bool
    manual: int
    saver_at: int
    early_stopping: bool
    monitor: bool
    keep: dict[str, Any] | None


def options_of(seed: int) -> Options:
    """The options of this seed, whatever else was drawn."""
    pick = random.Random(seed)
    manual = pick.choice([0, 0, 0, 1, 2])
    every = pick.choice([1, 1, 1, 2])
    trainer: dict[str, Any] = {
        "max_epochs": pick.choice([2, 3]),
        "accumulate_grad_batches": 1 if manual else pick.choice([1, 1, 2, 3]),
        "log_every_n_steps": pick.choice([1, 2, 3]),
        "val_check_interval": pick.choice([1.0, 1.0, 0.5, 2, 3]),
        "check_val_every_n_epoch": every,
        "num_sanity_val_steps": pick.choice([0, 2]),
        "reload_dataloaders_every_n_epochs": pick.choice([0, 0, 1, 2]),
        "gradient_clip_val": None if manual else pick.choice([None, 0.5]),
        "limit_train_batches": pick.choice([1.0, 1.0, 4]),
    }
    if pick.random() < 0.15:
        trainer["max_steps"] = pick.randint(3, 9)
    data = pick.choice(["shuffled", "shuffled", "in order", "noisy", "endless", "stateful", "cycle", "shortest"])
    if data == "shortest":
        trainer["limit_train_batches"], trainer["val_check_interval"] = 1.0, 1.0
    if data == "endless" and trainer["val_check_interval"] == 0.5:
        trainer["val_check_interval"] = 2
    return Options(
        trainer=trainer,
        data=data,
        samples=pick.choice([9, 11, 12, 14]),
        val_loaders=pick.choice([0, 1, 1, 1, 2]),
        scheduler=pick.choice(
            [None, ("step", ""), ("epoch", ""), ("step", "train"), ("epoch", "train"), ("epoch", "val")]
        ),
        frequency=pick.choice([1, 1, 2]),
        adam=pick.random() < 0.5,
        manual=manual,
        saver_at=pick.randint(0, 2),
        early_stopping=pick.random() < 0.3,
        monitor=pick.random() < 0.3,
        keep=pick.choice([None, {}, {"every_n_train_steps": 2}, {"save_on_train_epoch_end": True}]),
    )


class Counting(Callback):
    """Counts its calls, by hook."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = dict.fromkeys(COUNTED, 0)

    @property
    def state_key(self) -> str:
        return f"Counting {self.name}"

    def state_dict(self) -> dict[str, Any]:
        return {"calls": dict(self.calls)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.calls = dict(state_dict["calls"])


def _counting(hook: str) -> Any:
    def count(self: Counting, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if not trainer.sanity_checking:
            self.calls[hook] += 1

    return count


for _hook in COUNTED:
    setattr(Counting, _hook, _counting(_hook))


class Stream(IterableDataset[Any]):
    """Samples without a length."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        yield from TensorDataset(*_numbers(self.samples))


class Counted:
    """A loader that knows where it stands, as a stateful one does."""

    def __init__(self, samples: int) -> None:
        self.batches = list(DataLoader(TensorDataset(*_numbers(samples)), 3))
        self.at = self.start = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        self.at, self.start = self.start, 0
        while self.at < len(self.batches):
            self.at += 1
            yield self.batches[self.at - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start = state["at"]


def _numbers(samples: int, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(samples, 4, generator=torch.Generator().manual_seed(samples)) + shift
    return inputs, inputs.sum(dim=1, keepdim=True)


def training_loader(options: Options, epoch: int) -> Any:
    """The loaders of an epoch: others in each, where they are asked for in each."""
    n, shift = options.samples, 0.1 * epoch
    if options.data == "endless":
        return DataLoader(Stream(n), 3)
    if options.data == "stateful":
        return Counted(n)
    if options.data == "noisy":
        return DataLoader(Noisy(n), 3, shuffle=True)
    if options.data in ("cycle", "shortest"):
        parts = [DataLoader(TensorDataset(*_numbers(count, shift)), 3, shuffle=True) for count in (n, n - 3)]
        return th.CombinedLoader(parts, "min_size") if options.data == "shortest" else parts
    return DataLoader(TensorDataset(*_numbers(n, shift)), 3, shuffle=options.data == "shuffled")


class Searched(th.LightningModule):
    """Depends on all that a resume must restore, logs in every hook that may, and tells what happens."""

    def __init__(self, options: Options, trace: list[Any]) -> None:
        super().__init__()
        self.options, self.trace = options, trace
        self.automatic_optimization = not options.manual
        self.net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.3), nn.Linear(3, 1))
        self.register_buffer("average", torch.zeros(4))
        self.register_buffer("epochs_seen", torch.zeros(()))
        self.register_buffer("validations_seen", torch.zeros(()))

    def _tell(self, event: Any) -> None:
        if not self.trainer.sanity_checking:
            self.trace.append(event)

    def _loss(self, batch: Any) -> Tensor:
        parts = batch if isinstance(batch[0], (list, tuple)) else [batch]
        return torch.stack([(self.net(x) - y).square().mean() for x, y in parts]).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self._loss(batch)
        self.trace.append(("train", self.current_epoch, batch_idx, loss.item()))
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("sum", loss, on_step=False, on_epoch=True, reduce_fx="sum")
        if self.options.manual:
            return self._step_by_hand(loss, batch_idx)
        return loss

    def _step_by_hand(self, loss: Tensor, batch_idx: int) -> None:
        optimizer = self.optimizers()
        self.manual_backward(loss)
        if (batch_idx + 1) % self.options.manual == 0:
            optimizer.step()
            optimizer.zero_grad()
            for scheduler in [self.lr_schedulers()] if self.options.scheduler else []:
                scheduler.step(*([loss.item()] if self.options.scheduler[1] else []))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.average.mul_(0.9).add_(0.1 * self.net[0].weight.detach().sum(0))
        self.log("at", float(batch_idx), on_step=True, on_epoch=True)
        if outputs and not self.options.manual:
            self.log("output", outputs["loss"], on_step=False, on_epoch=True)

    def on_train_epoch_start(self) -> None:
        self.log("begun", float(self.current_epoch))

    def on_train_epoch_end(self) -> None:
        self.epochs_seen += 1
        self.log("ended", self.epochs_seen)

    def on_validation_model_eval(self) -> None:
        self._tell("validation")
        super().on_validation_model_eval()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        loss = self._loss(batch) + 0.01 * torch.rand(())
        self._tell(("validate", batch_idx, dataloader_idx, loss.item()))
        self.log("val", loss, on_step=True, on_epoch=True)

    def on_validation_end(self) -> None:
        self.validations_seen += not self.trainer.sanity_checking

    def configure_optimizers(self) -> Any:
        kind = torch.optim.AdamW if self.options.adam else torch.optim.SGD
        optimizer = kind(self.parameters(), 0.05)
        if self.options.scheduler is None:
            return optimizer
        interval, watched = self.options.scheduler
        name = "loss_step"
        if watched == "val" and self.options.val_loaders:
            name = "val_epoch" + "/dataloader_idx_0" * (self.options.val_loaders > 1)
        name = "loss_epoch" if watched and interval == "epoch" and name == "loss_step" else name
        made: Any = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        if watched:
            made = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
        frequency = 1 if watched else self.options.frequency
        config = {"scheduler": made, "interval": interval, "frequency": frequency, "monitor": name, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def train_dataloader(self) -> Any:
        epoch = self.current_epoch if self.options.trainer["reload_dataloaders_every_n_epochs"] else 0
        return training_loader(self.options, epoch)

    def val_dataloader(self) -> Any:
        return [DataLoader(TensorDataset(*_numbers(5 + 2 * index)), 2) for index in range(self.options.val_loaders)]


def callbacks_of(options: Options, saver: Callback, folder: Any) -> list[Callback]:
    """Counting callbacks, with the one that saves before, between or after them, and those of the trainer's own."""
    found: list[Callback] = [Counting("one"), Counting("two")]
    found.insert(options.saver_at, saver)
    if options.early_stopping:
        found.append(EarlyStopping("loss_epoch", patience=100, check_on_train_epoch_end=True))
    if options.monitor and options.scheduler:
        found.append(LearningRateMonitor())
    if options.keep is not None:
        found.append(ModelCheckpoint(folder, save_top_k=-1, filename="{epoch}-{step}", **options.keep))
    return found
