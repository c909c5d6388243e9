"""What a script uses of Lightning and we lack is listed, with remedies, without running it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from thunderhead.compat.check import check

LINES = [
    ("import lightning as L", []),
    ("from lightning.pytorch.callbacks import *", []),
    (
        "from lightning.pytorch.loggers import CSVLogger, CometLogger",
        ["lightning.pytorch.loggers.CometLogger: use Ten"],
    ),
    ("import pytorch_lightning as pl; pl.loggers.CometLogger()", ["lightning.pytorch.loggers.CometLogger: use Tensor"]),
    (
        "import pytorch_lightning; x = pytorch_lightning.strategies.DeepSpeedStrategy",
        ["DeepSpeedStrategy: use FSDPStrategy"],
    ),
    (
        "from pytorch_lightning import strategies as s; s.DeepSpeedStrategy(stage=2)",
        ["DeepSpeedStrategy: use FSDPStrategy"],
    ),
    ("from lightning.pytorch import callbacks; callbacks.EarlyStoping", ["EarlyStoping: there is no such name. Did y"]),
    (
        "from lightning.pytorch.trainer.call import _call_callback_hooks",
        ["lightning.pytorch.trainer.call: a module of"],
    ),
    ("import lightning.pytorch.callback", ["lightning.pytorch.callback: .* Did you mean 'callbacks'"]),
    ("from lightning.pytorch.core.optimizer import _MockOptimizer", ["_MockOptimizer: a name of Lightning's inside"]),
    ("from lightning.fabric.utilities.types import _PATH, _DEVICE", []),
    ("from lightning.pytorch.demos.mnist_datamodule import MNIST", ["MNIST: load it with torchvision"]),
    ("import lightning.pytorch as pl\nclass M(pl.LightningModule):\n    logger = None\n    x = pl.__version__", []),
    (
        "try:\n    from lightning.pytorch.loggers import CometLogger\nexcept ImportError:\n    CometLogger = None",
        [r"CometLogger: .+ \(it can do without\)"],
    ),
    (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lightning.pytorch.loggers import CometLogger\n",
        [],
    ),
    ("import torch; torch.nn.Nothing; from other.lightning import x; from .lightning import y", []),
]


@pytest.mark.parametrize(("code", "expected"), LINES, ids=range(len(LINES)))
def test_each_way_to_name_something(tmp_path: Path, code: str, expected: list[str]) -> None:
    import re

    (tmp_path / "train.py").write_text(code)
    found = [str(finding) for finding in check(tmp_path / "train.py")]
    assert len(found) == len(expected), found
    for line, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, line), line


def test_the_modules_beside_it_are_read_too(tmp_path: Path) -> None:
    package = tmp_path / "models"
    package.mkdir()
    (tmp_path / "train.py").write_text("import models.net\nfrom models import head\nimport json")
    (package / "__init__.py").write_text("from . import tail")
    (package / "net.py").write_text("from .tail import x\nfrom lightning.pytorch.loggers import CometLogger")
    (package / "head.py").write_text("import train")
    (package / "tail.py").write_text("\n\nfrom lightning import Nothing")
    found = check(tmp_path / "train.py")
    assert [(finding.path, finding.line) for finding in found] == [("models/net.py", 2), ("models/tail.py", 3)]


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thunderhead.compat", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "lacks.py").write_text("raise SystemExit('run')\nfrom lightning.pytorch.loggers import CometLogger")
    (tmp_path / "has.py").write_text("import lightning as L\nL.Trainer")
    (tmp_path / "broken.py").write_text("def")
    done = run(tmp_path, "--check", "lacks.py")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("lacks.py:2: lightning.pytorch.loggers.CometLogger: use TensorBoardLogger")
    done = run(tmp_path, "--check", "has.py")
    assert (done.returncode, done.stdout) == (0, "has.py: every name of Lightning's that is used is here\n")
    for wrong in (["--check"], ["--check", "nosuch.py"], ["--check", "broken.py"]):
        assert run(tmp_path, *wrong).returncode == 2
    done = run(tmp_path, "lacks.py")
    assert done.stderr == f"thunderhead.compat: {run(tmp_path, '--check', 'lacks.py').stdout}run\n"
