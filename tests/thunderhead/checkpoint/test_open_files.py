"""Modules and datamodules are made again from whatever a checkpoint can be read from: paths, open files, buffers."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import nn

import thunderhead as th


class Wide(th.LightningModule):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)


class Data(th.LightningDataModule):
    def __init__(self, batch_size: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Wide]:
    module = Wide(width=3)
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "hparams_name": "kwargs",
        "datamodule_hyper_parameters": {"batch_size": 7},
        "datamodule_hparams_name": "kwargs",
        "pytorch-lightning_version": "2.6.6",
        "epoch": 0,
        "global_step": 0,
        "loops": {},
    }
    torch.save(content, tmp_path / "written.ckpt")
    return tmp_path / "written.ckpt", module


class Unseekable(io.RawIOBase):
    """A pipe, as a download is."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(buffer)


def after_a_header(path: Path) -> IO[bytes]:
    stream = io.BytesIO(b"mine" + path.read_bytes())
    stream.seek(4)
    return stream


def spooled(path: Path) -> Any:
    stream = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - read by the test
    stream.write(path.read_bytes())
    stream.seek(0)
    return stream


def at_its_end() -> IO[bytes]:
    stream = io.BytesIO()
    stream.write(b"just written")
    return stream


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "open file": lambda path: path.open("rb"),
    "buffer": lambda path: io.BytesIO(path.read_bytes()),
    "pipe": lambda path: io.BufferedReader(Unseekable(path.read_bytes())),
    "after a header": after_a_header,
    "spooled": spooled,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_each_source(kind: str, written: tuple[Path, Wide]) -> None:
    path, saved = written
    source = SOURCES[kind](path)
    module = Wide.load_from_checkpoint(source, map_location="cpu")
    assert module.hparams == {"width": 3}
    assert torch.equal(module.layer.weight, saved.layer.weight)
    if kind != "path":
        assert not source.closed
        source.close()
    source = SOURCES[kind](path)
    assert Data.load_from_checkpoint(source).hparams == {"batch_size": 7}
    if kind != "path":
        source.close()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (io.StringIO("text"), "open a file with mode 'rb'"),
        (7, "7 is neither a path, a URL nor a binary stream"),
        (at_its_end(), r"'<BytesIO>' stands at its end; call seek\(0\)"),
        (io.BytesIO(b"nothing of the kind"), "'<BytesIO>' is no checkpoint: torch.save wrote none"),
    ],
)
def test_what_is_none(source: Any, said: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=said):
        Wide.load_from_checkpoint(source)
