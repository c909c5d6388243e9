"""Files crossing over: each trainer goes on from a ``.ckpt`` file that the other wrote, and loads a module from it.

A run of three epochs is the measure: a file is written after two, and whoever goes on from it must have the losses of
the third, bit by bit. The module has running statistics, momentum, a scheduler and hyperparameters.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SIDES = ("thunderhead", "lightning.pytorch")
_HIDDEN = 6


@dataclass(frozen=True, slots=True)
class Crossing:
    """One file read by one side.

    Attributes:
        writer, reader: packages.
        weights_only: as passed on.
        losses: whether the third epoch's losses are the writer's own.
        counters: whether steps and epochs at the end are.
        module: whether ``load_from_checkpoint`` gives the file's weights and hyperparameters.
    """

    writer: str
    reader: str
    weights_only: bool | None
    losses: bool
    counters: bool
    module: bool

    @property
    def same(self) -> bool:
        """Whether nothing was lost on the way."""
        return self.losses and self.counters and self.module

    def line(self) -> str:
        """The outcome in a line."""
        found = [name for name in ("losses", "counters", "module") if not getattr(self, name)]
        what = f"{self.reader} reads {self.writer}, weights_only={self.weights_only}"
        return f"{what}: {'DIFFERENT ' + ', '.join(found) if found else 'same'}"


def crossings(folder: Path) -> list[Crossing]:
    """Every writer with every reader."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {side: folder / f"{side}.ckpt" for side in SIDES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for side in SIDES:
            logging.getLogger(side).setLevel(logging.ERROR)
        measures = {side: _write(side, files[side]) for side in SIDES}
        return [
            _read(reader, writer, files[writer], measures[writer], weights_only)
            for writer in SIDES
            for reader in SIDES
            for weights_only in (None, True)
        ]


def table(found: list[Crossing]) -> str:
    """The results as Markdown."""
    rows = [
        f"| {c.writer} | {c.reader} | {c.weights_only} | {_word(c.losses)} | {_word(c.counters)} | {_word(c.module)} |"
        for c in found
    ]
    head = [
        "| written by | read by | weights_only | losses that follow | counters | load_from_checkpoint |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _word(same: bool) -> str:
    return "same" if same else "DIFFERENT"


def _module_class(side: str) -> type[Any]:
    base = importlib.import_module(side).LightningModule

    class Module(base):  # type: ignore[misc]  # the base is an argument
        def __init__(self, lr: float = 0.05, hidden: int = 8) -> None:
            super().__init__()
            self.save_hyperparameters()
            torch.manual_seed(1)
            self.net = nn.Sequential(nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 1))
            self.seen: list[float] = []

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
            self.seen.append(loss.item())
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

    return Module


def _loader() -> DataLoader[Any]:
    inputs = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=8)


def _trainer(side: str, epochs: int) -> Any:
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return importlib.import_module(side).Trainer(max_epochs=epochs, accelerator="cpu", devices=1, **off)


def _write(side: str, path: Path) -> list[float]:
    """A file after two epochs, and the losses of the third when nothing interrupts."""
    made = _trainer(side, 2)
    made.fit(_module_class(side)(hidden=_HIDDEN), _loader())
    made.save_checkpoint(path)
    whole = _module_class(side)(hidden=_HIDDEN)
    _trainer(side, 3).fit(whole, _loader())
    return list(whole.seen[-5:])


def _read(reader: str, writer: str, path: Path, measure: list[float], weights_only: bool | None) -> Crossing:
    module, made = _module_class(reader)(hidden=_HIDDEN), _trainer(reader, 3)
    made.fit(module, _loader(), ckpt_path=path, weights_only=weights_only)
    loaded = _module_class(reader).load_from_checkpoint(path, weights_only=weights_only)
    kept = torch.load(path, weights_only=True)["state_dict"]
    weights = all(torch.equal(value, kept[name]) for name, value in loaded.state_dict().items())
    return Crossing(
        writer=writer,
        reader=reader,
        weights_only=weights_only,
        losses=module.seen == measure,
        counters=(made.global_step, made.current_epoch) == (15, 3),
        module=weights and loaded.hparams.hidden == _HIDDEN,
    )
