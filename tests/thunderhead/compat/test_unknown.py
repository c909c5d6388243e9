"""What a name that is not there says: why, where it is instead, or which one was meant."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import thunderhead as th
from thunderhead import compat

NAMES = [
    ("thunderhead", "LightningModul", ". Did you mean 'LightningModule'?"),
    ("thunderhead", "Fabrik", ". Did you mean 'Fabric'?"),
    ("thunderhead", "ModelCheckpoint", "; it is thunderhead.callbacks.ModelCheckpoint"),
    ("thunderhead", "zzz", "; dir(thunderhead) lists what it has"),
    ("thunderhead", "_private", "; dir(thunderhead) lists what it has"),
    ("thunderhead.callbacks", "EarlyStoping", ". Did you mean 'EarlyStopping'?"),
    ("thunderhead.callbacks", "Tuner", "; it is thunderhead.tuner.Tuner"),
    ("thunderhead.callbacks", "LightningModule", "; it is thunderhead.LightningModule"),
    ("thunderhead.loggers", "CSVLoger", ". Did you mean 'CSVLogger'?"),
    ("thunderhead.loggers", "CometLogger", ": use TensorBoardLogger or CSVLogger, or derive one from Logger"),
    ("thunderhead.strategies", "DDPStrat", ". Did you mean 'DDPStrategy'?"),
    ("thunderhead.strategies", "DeepSpeedStrategy", ": use FSDPStrategy, or shard in configure_model under "
     "ModelParallelStrategy"),
]  # fmt: skip


@pytest.mark.parametrize(("package", "name", "said"), NAMES)
def test_names_of_ours(package: str, name: str, said: str) -> None:
    module, message = importlib.import_module(package), f"module {package!r} has no {name!r}{said}"
    with pytest.raises(AttributeError) as looked_up:
        getattr(module, name)
    with pytest.raises(ImportError) as imported:
        exec(f"from {package} import {name}")
    assert (str(looked_up.value), looked_up.value.name, looked_up.value.obj) == (message, name, module)
    assert (str(imported.value), imported.value.name) == (message, package)
    assert not hasattr(module, name)


def test_what_is_there_stays_there() -> None:
    for package in (th, th.callbacks, th.loggers, th.strategies):
        for name in package.__all__:
            found = {}
            exec(f"from {package.__name__} import {name}", found)
            assert found[name] is getattr(package, name)


def test_submodules_are_still_found() -> None:
    """They are looked up as names first."""
    code = "from thunderhead import rng; from thunderhead.loggers import csv_logger; print(rng, csv_logger)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def _lightning_is_ours() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


@pytest.mark.usefixtures("_lightning_is_ours")
def test_names_of_the_aliases() -> None:
    said = (
        "lightning.pytorch.callbacks.EarlyStoping does not exist in thunderhead.compat. Did you mean 'EarlyStopping'?"
    )
    with pytest.raises(ImportError) as caught:
        exec("from lightning.pytorch.callbacks import EarlyStoping")
    assert str(caught.value) == said
    assert not hasattr(importlib.import_module("lightning.pytorch.callbacks"), "EarlyStoping")
