"""How each framework is run: Thunderhead, Lightning's Trainer, Lightning Fabric. Each reads a loader that measures."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from bench.inside_a_job import inside_a_job
from bench.workloads import Batch, Workload, module_class, network, optimizer

OURS = "thunderhead"
LIGHTNING = "lightning.pytorch"


def has_lightning() -> bool:
    """Whether the peer is installed; without it only our side is measured."""
    return importlib.util.find_spec("lightning") is not None


def fit(package: str, work: Workload, loader: Iterable[Batch], *, logged: int, everything: bool) -> None:
    """One epoch over ``loader``.

    Args:
        package: ``thunderhead`` or ``lightning.pytorch``.
        work: what is trained.
        loader: its batches.
        logged: values logged per step, on step and epoch.
        everything: logger, checkpoint, early stopping and learning-rate monitor; for Thunderhead also a job with its
            heartbeat, metrics and stop agreement, of which Lightning has no counterpart.
    """
    api = importlib.import_module(package)
    with _quiet_folder() as folder, ExitStack() as stack:
        if everything and package == OURS:
            stack.enter_context(inside_a_job(folder))
        options: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
        if everything:
            options = everything_on(api, folder, monitor="value_0_epoch" if logged else None)
        _trainer(api, folder, **options).fit(module_class(api.LightningModule, work, logged)(), loader)


def usual(package: str, work: Workload, loader: Iterable[Batch]) -> None:
    """One epoch over ``loader`` with a CSV logger, a ModelCheckpoint and one value logged per step: an ordinary run."""
    api = importlib.import_module(package)
    with _quiet_folder() as folder:
        logger = importlib.import_module(f"{package}.loggers").CSVLogger(str(folder))
        _trainer(api, folder, logger=logger).fit(module_class(api.LightningModule, work, 1)(), loader)


def _trainer(api: Any, folder: Path, **options: Any) -> Any:
    """A Trainer of either package for one epoch on the CPU that shows nothing."""
    return api.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        default_root_dir=str(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fabric(work: Workload, loader: Iterable[Batch]) -> None:
    """The raw loop with Fabric's model, optimizer and backward."""
    api = importlib.import_module("lightning.fabric")
    with _quiet_folder():
        made = api.Fabric(accelerator="cpu", devices=1)
        plain = network(work)
        net, step = made.setup(plain, optimizer(work, plain.parameters()))
        for x, y in loader:
            loss = nn.functional.mse_loss(net(x), y)
            step.zero_grad()
            made.backward(loss)
            step.step()


def everything_on(api: Any, folder: Path, *, monitor: str | None) -> dict[str, Any]:
    """Arguments of a Trainer that logs and watches; early stopping needs a value to watch."""
    callbacks = importlib.import_module(f"{api.__name__}.callbacks")
    loggers = importlib.import_module(f"{api.__name__}.loggers")
    watching = [] if monitor is None else [callbacks.EarlyStopping(monitor, patience=100, mode="min")]
    return {
        "logger": loggers.CSVLogger(str(folder)),
        "callbacks": [
            callbacks.ModelCheckpoint(str(folder / "files"), monitor=monitor, save_top_k=1),
            *watching,
            callbacks.LearningRateMonitor("step"),
        ],
    }


@contextmanager
def _quiet_folder() -> Iterator[Path]:
    """A folder for one run, and nothing said about it."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "thunderhead"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Path(folder)
