"""Two ranks again: options that mean something else with several, and files that one of them writes for all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from bench.parity.cases.data import combined_loader
from bench.parity.cases.ranks import SYNCED, even_loaders, two_ranks
from bench.parity.explained import AFTER_THE_MODULE, OWN_BUFFERS, RANK_0_DECIDES
from bench.parity.scenario import Session, loss_of, samples


def _combined(api: Any) -> dict[str, Any]:
    pair = {"a": DataLoader(samples(27), batch_size=4, shuffle=True), "b": DataLoader(samples(12), batch_size=3)}
    return even_loaders(api) | {"train": combined_loader(api)(pair, "max_size_cycle")}


def _combined_step(self: Any, batch: Any, batch_idx: int) -> Tensor:
    total: Tensor = sum(loss_of(self, part) for part in batch.values())  # type: ignore[assignment]  # never empty
    self.log("train_loss", total, on_step=True, on_epoch=True, batch_size=4, sync_dist=True)
    return total


def _workers(api: Any) -> dict[str, Any]:
    return even_loaders(api) | {"train": DataLoader(samples(27), batch_size=4, num_workers=1)}


def _shuffled_validation(api: Any) -> dict[str, Any]:
    return even_loaders(api) | {"val": DataLoader(samples(12, 1), batch_size=4, shuffle=True)}


def _limited_sampler(api: Any) -> dict[str, Any]:
    data = samples(27)
    chosen = RandomSampler(data, replacement=True, num_samples=16, generator=torch.Generator().manual_seed(2))
    return even_loaders(api) | {"train": DataLoader(data, batch_size=4, sampler=chosen)}


def _best(session: Session) -> None:
    session.fit()
    for name in ("validate", "test", "predict"):
        session.evaluate(name, ckpt_path="best")


def _frozen_begin(self: Any) -> None:
    self.net[0].requires_grad_(False)


def _synced_steps(self: Any, batch: Any, batch_idx: int) -> None:
    self.log("val_step", loss_of(self, batch), on_step=True, on_epoch=True, sync_dist=True)
    self.log("val_sum", float(batch_idx + 1), sync_dist=True, reduce_fx="sum")
    self.log("val_min", float(self.global_rank), sync_dist=True, reduce_fx="min")


def _no_dropout(self: Any) -> None:
    self.net[3].p = 0.0


RANKS_OPTIONS = (
    two_ranks("fast_dev_run", {"fast_dev_run": 2}),
    two_ranks("barebones", {"barebones": True}),
    two_ranks("a CombinedLoader", loaders=_combined, methods={"training_step": _combined_step}),
    two_ranks("loader processes", loaders=_workers),
    two_ranks("a shuffled validation loader", loaders=_shuffled_validation),
    two_ranks("a sampler of fewer samples", loaders=_limited_sampler),
    two_ranks("limits by share", {"limit_train_batches": 0.5, "limit_val_batches": 0.5}),
    two_ranks("overfit a share", {"overfit_batches": 0.5}),
    two_ranks(
        "accumulate 2, max_steps, validation in mid-epoch",
        {"accumulate_grad_batches": 2, "max_steps": 3, "max_epochs": -1, "val_check_interval": 3},
        explained=OWN_BUFFERS,
    ),
    two_ranks("log in steps of validation", methods={"validation_step": _synced_steps}),
    two_ranks(
        "clip value, precision 64-true",
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value", "precision": "64-true"},
    ),
    two_ranks("a frozen layer", methods={"begin": _frozen_begin}),
    two_ranks(
        "LearningRateMonitor",
        {"log_every_n_steps": 1},
        callbacks=lambda api: [api.callbacks.LearningRateMonitor("step")],
    ),
    two_ranks(
        "ModelCheckpoint every 3 steps",
        callbacks=lambda api: [api.callbacks.ModelCheckpoint(every_n_train_steps=3, save_top_k=-1)],
        explained=AFTER_THE_MODULE,
    ),
    two_ranks(
        "ModelCheckpoint of what each rank has",
        {"max_epochs": 3},
        callbacks=lambda api: [api.callbacks.ModelCheckpoint(monitor="val_loss", save_top_k=1, save_last="link")],
        explained=RANK_0_DECIDES,
    ),
    two_ranks(
        "best for validate, test, predict",
        steps=_best,
        methods=SYNCED,
        callbacks=lambda api: [api.callbacks.ModelCheckpoint(monitor="val_loss")],
    ),
    two_ranks("max_time, long", {"max_time": "00:01:00:00"}),
    two_ranks(
        "reload every epoch",
        {"reload_dataloaders_every_n_epochs": 1},
        datamodule=True,
        methods={"begin": _no_dropout},
    ),
    two_ranks("a monitor that is not logged", callbacks=lambda api: [api.callbacks.ModelCheckpoint(monitor="nothing")]),
)
