"""A case of the matrix, and one side's run of it."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bench.parity.checkpoints import content_of, relative
from bench.parity.observe import OF_DATA, OF_MODULE, network, noting_logger, observed, watching
from bench.parity.record import Record, plain

SIDES = {"thunderhead": "thunderhead", "lightning": "lightning.pytorch"}
QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False}
Steps = Callable[["Session"], None]


def fit(session: Session) -> None:
    """The usual run."""
    session.fit()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the matrix.

    Attributes:
        name: what varies.
        trainer: arguments of the Trainer, over ``max_epochs=2``.
        methods: members of the module, in the place of the plain ones.
        callbacks: makes callbacks from the framework's package.
        loaders: makes loaders by stage, in the place of the plain ones.
        steps: what is run.
        datamodule: whether data comes from a datamodule rather than from loaders.
        hooks: whether the module has every hook; else only those it needs, which the trainers must tell.
        ranks: processes that train together.
        explained: reasons by pattern of path, for differences that are meant.
    """

    name: str
    trainer: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Callable[[Any], list[Any]] = lambda api: []
    loaders: Callable[[Any], dict[str, Any]] = lambda api: {}
    steps: Steps = fit
    datamodule: bool = False
    hooks: bool = True
    ranks: int = 1
    explained: Mapping[str, str] = field(default_factory=dict)


def samples(count: int, seed: int = 0) -> TensorDataset:
    """``count`` samples (x: [4], y: [1])."""
    made = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(count, 4, generator=made), torch.randn(count, 1, generator=made))


def plain_loaders() -> dict[str, Any]:
    """Seven training batches, shuffled, the last one short; three for validation, two for test and predict."""
    return {
        "train": DataLoader(samples(27), batch_size=4, shuffle=True),
        "val": DataLoader(samples(11, 1), batch_size=4),
        "test": DataLoader(samples(8, 2), batch_size=4),
        "predict": DataLoader(samples(8, 3), batch_size=4),
    }


def loss_of(module: Any, batch: Any) -> Tensor:
    """Mean squared error on a batch (x, y)."""
    x, y = batch
    return nn.functional.mse_loss(module.net(x), y)


def plain_module(base: type[Any]) -> type[Any]:
    """The module of every case, before a case changes it."""

    class Module(base):  # type: ignore[misc]  # the base is an argument
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.begin()

        def begin(self) -> None:
            """What a case adds to the constructor."""

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = loss_of(self, batch)
            self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("val_loss", loss_of(self, batch), prog_bar=True)

        def test_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("test_loss", loss_of(self, batch))

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    return Module


class Session:
    """One side's run of a case.

    Attributes:
        api: the framework's package.
        root: an empty directory for its files.
        record: what was observed.
        trainer: the newest Trainer.
        module: the newest module.
    """

    def __init__(self, case: Case, package: str, root: Path) -> None:
        self.case = case
        self.api: Any = importlib.import_module(package)
        for part in ("callbacks", "loggers", "loggers.logger", "strategies"):
            importlib.import_module(f"{package}.{part}")
        self.root = root
        self.record = Record()
        self.trainer: Any = None
        self.module: Any = None
        self.data: Any = None
        self._runs = 0

    # --- parts -----------------------------------------------------------------------------------------------------

    def module_class(self) -> type[Any]:
        """The case's module, of this side's base class."""
        base = self.api.LightningModule
        own = type("Module", (plain_module(base),), dict(self.case.methods))
        if not self.case.hooks:
            return observed(base, own, ("training_step",), "m", self.record)
        return observed(base, own, OF_MODULE, "m", self.record)

    def new_module(self, *args: Any, **kwargs: Any) -> Any:
        """A fresh module; the same numbers each time."""
        seed(1)
        self.module = self.module_class()(*args, **kwargs)
        return self.module

    def new_trainer(self, **changes: Any) -> Any:
        """A Trainer with the case's arguments, and callbacks that watch it."""
        given = {"max_epochs": 2, **QUIET, "default_root_dir": str(self.root), **self.case.trainer, **changes}
        if given.pop("watch", True) and not given.get("barebones"):
            first = watching(self.api, self.record, "first", reads=False)
            last = watching(self.api, self.record, "last", reads=True)
            given["callbacks"] = [first, *given.pop("callbacks", self.case.callbacks(self.api)), last]
        else:
            given.setdefault("callbacks", self.case.callbacks(self.api))
        if "logger" not in given and not given.get("barebones"):
            table = self.api.loggers.CSVLogger(str(self.root), name="csv", version=self._runs)
            given["logger"] = [table, noting_logger(self.api, self.record, str(self.root))]
        self._runs += 1
        self.trainer = self.api.Trainer(**given)
        return self.trainer

    def loaders(self) -> dict[str, Any]:
        """Loaders by stage."""
        return {**plain_loaders(), **self.case.loaders(self.api)}

    def new_datamodule(self) -> Any:
        """The loaders, as a datamodule with state."""
        found = self.loaders()

        class Data(self.api.LightningDataModule):  # type: ignore[misc,name-defined]  # the base is a value
            def state_dict(self) -> dict[str, Any]:
                return {"seen": 7}

        methods = {f"{stage}_dataloader": (lambda self, stage=stage: found[stage]) for stage in found}
        own = type("Data", (Data,), methods)
        self.data = observed(self.api.LightningDataModule, own, OF_DATA, "dm", self.record)()
        return self.data

    # --- entry points ----------------------------------------------------------------------------------------------

    def fit(self, module: Any = None, *, ckpt_path: Any = None, weights_only: Any = None, **changes: Any) -> None:
        """A new Trainer and a new module, trained."""
        trainer = self.new_trainer(**changes)
        module = module if module is not None else self.new_module()
        seed(2)
        extra = {} if weights_only is None else {"weights_only": weights_only}
        if self.case.datamodule:
            trainer.fit(module, datamodule=self.new_datamodule(), ckpt_path=ckpt_path, **extra)
        else:
            found = self.loaders()
            trainer.fit(module, found["train"], found["val"], ckpt_path=ckpt_path, **extra)

    def evaluate(self, name: str, **extra: Any) -> Any:
        """validate, test or predict with the newest Trainer, or a new one."""
        trainer = self.trainer or self.new_trainer()
        if "ckpt_path" not in extra:
            extra["model"] = self.module if self.module is not None else self.new_module()
        stage = {"validate": "val"}.get(name, name)
        if name != "predict":
            extra["verbose"] = False
        if self.case.datamodule:
            extra["datamodule"] = self.data or self.new_datamodule()
        else:
            extra["dataloaders"] = self.loaders()[stage]
        result = getattr(trainer, name)(**extra)
        self.record.returned.append({name: plain(result)})
        return result

    def checkpoint(self, name: str = "*.ckpt") -> str:
        """Path of the newest file that was saved."""
        found = sorted(self.root.rglob(name), key=os.path.getmtime)
        assert found, f"nothing saved as {name}"
        return str(found[-1])


def seed(number: int) -> None:
    """Everything that draws numbers."""
    random.seed(number)
    numpy.random.seed(number)
    torch.manual_seed(number)


def run(case: Case, side: str, root: Path, *, files: bool = True) -> Record:
    """One side's run on this rank; an exception is part of the record.

    Args:
        case: what to run.
        side: with what.
        root: directory for its files, which other ranks may share.
        files: whether to look at them, rather than to leave that to the caller.

    Returns:
        What was observed.
    """
    root.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    session = Session(case, SIDES[side], root)
    with _quiet():
        try:
            case.steps(session)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, the other side must raise it too
            session.record.error = f"{type(error).__name__}: {error}"
    if files:
        collect_files(session.record, root)
    _collect(session)
    return session.record


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "thunderhead"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def collect_files(record: Record, root: Path) -> None:
    """What a run left behind, and what is in it."""
    for path in sorted(root.rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(root))
        record.files.append(f"{name} -> {os.readlink(path)}" if path.is_symlink() else name)
        if path.suffix == ".ckpt" and not path.is_symlink():
            record.checkpoints[name] = content_of(path, root)
        if path.name == "metrics.csv":
            record.csv += [{"file": name, **row} for row in _rows(path)]


def _collect(session: Session) -> None:
    record = session.record
    if session.module is not None:
        record.weights = plain(session.module.state_dict())
    if session.trainer is not None:
        record.attributes = _attributes(session.trainer, session.root)


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open() as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]


_OF_TRAINER = (
    "global_step",
    "current_epoch",
    "max_epochs",
    "max_steps",
    "min_epochs",
    "min_steps",
    "should_stop",
    "interrupted",
    "num_training_batches",
    "num_val_batches",
    "num_sanity_val_batches",
    "num_test_batches",
    "num_predict_batches",
    "check_val_every_n_epoch",
    "accumulate_grad_batches",
    "is_last_batch",
    "log_dir",
    "ckpt_path",
)
_OF_CALLBACK = (
    "best_model_path",
    "best_model_score",
    "best_k_models",
    "kth_best_model_path",
    "kth_value",
    "last_model_path",
    "current_score",
    "stopped_epoch",
    "wait_count",
    "best_score",
    "lrs",
    "last_momentum_values",
    "last_weight_decay_values",
)


def _attributes(trainer: Any, root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(trainer, name) for name in _OF_TRAINER}
    found["status"] = str(getattr(trainer.state.status, "value", trainer.state.status))
    found["callbacks"] = [type(callback).__name__ for callback in trainer.callbacks]
    for callback in trainer.callbacks:
        for name in _OF_CALLBACK:
            if hasattr(callback, name):
                found[f"{type(callback).__name__}.{name}"] = getattr(callback, name)
    values = plain(found)
    return {name: relative(value, root) for name, value in values.items()}
