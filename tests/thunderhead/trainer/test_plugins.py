"""Plugins: one of each kind, what they replace, and .ckpt files written beside training."""

from __future__ import annotations

import errno
import re
import threading
import time
from copy import copy
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from thunderhead.distributed.cluster import JobEnvironment, LightningEnvironment, TorchElasticEnvironment, find_cluster
from thunderhead.files.checkpoint_io import AsyncCheckpointIO, CheckpointIO, TorchCheckpointIO
from thunderhead.files.staging import detached
from thunderhead.files.writable import Destination, LateCheckpointError
from thunderhead.layer_sync import LayerSync, TorchSyncBatchNorm
from thunderhead.precision import Precision
from thunderhead.trainer import assembly


class Memory(CheckpointIO):
    """Checkpoints in a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.calls: list[str] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.calls.append("save")
        self.kept[str(path)] = detached(checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        self.calls.append("load")
        return detached(self.kept[str(path)])

    def remove_checkpoint(self, path: Any) -> None:
        self.calls.append("remove")
        self.kept.pop(str(path), None)


class Other(LayerSync):
    """Another way to share statistics."""

    def apply(self, model: nn.Module) -> nn.Module:
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        return model


@pytest.mark.parametrize(
    "twice",
    [
        (Precision(), Precision()),
        (Memory(), TorchCheckpointIO()),
        (LightningEnvironment(), TorchElasticEnvironment()),
        (Other(), TorchSyncBatchNorm()),
    ],
)
def test_one_of_each(twice: tuple[Any, Any]) -> None:
    with pytest.raises(th.MisconfigurationException, match=f"{type(twice[0]).__name__} and {type(twice[1]).__name__}"):
        th.Trainer(**QUIET, plugins=list(twice))


def test_batch_norm_twice() -> None:
    with pytest.raises(th.MisconfigurationException, match="sync_batchnorm=True and the plugin Other"):
        th.Trainer(**QUIET, plugins=Other(), sync_batchnorm=True)


def test_all_files_go_through_the_plugin(tmp_path: Path) -> None:
    memory = Memory()
    callbacks = [ModelCheckpoint(tmp_path / "kept", monitor="val_loss"), OnExceptionCheckpoint(tmp_path / "error")]
    options = {**QUIET, "enable_checkpointing": True, "max_epochs": 3, "plugins": memory, "callbacks": callbacks}
    trainer = th.Trainer(**options)
    trainer.fit(Net(), shuffled(), in_order())
    assert memory.calls.count("save") >= 1
    assert memory.calls[-1] == "remove"
    assert len(memory.kept) == 1
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    trainer.validate(Net(), in_order(), ckpt_path=tmp_path / "a.ckpt", verbose=False)
    assert memory.calls[-2:] == ["save", "load"]
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("wrap", [lambda memory: memory, AsyncCheckpointIO], ids=["at once", "beside training"])
def test_a_link_to_the_last_goes_through_the_plugin_too(tmp_path: Path, wrap: Any) -> None:
    """One that keeps its files elsewhere, and has no links, writes what it read."""
    memory = Memory()
    callback = ModelCheckpoint(tmp_path, filename="{epoch}", save_last="link")
    options = {**QUIET, "enable_checkpointing": True, "max_epochs": 2, "callbacks": callback}
    th.Trainer(**options, plugins=wrap(memory)).fit(Net(), shuffled(), in_order())
    assert sorted(memory.kept) == [str(tmp_path / "epoch=1.ckpt"), str(tmp_path / "last.ckpt")]
    assert memory.kept[callback.last_model_path]["global_step"] == memory.kept[callback.best_model_path]["global_step"]
    assert list(tmp_path.iterdir()) == []


def test_links_of_its_own(tmp_path: Path) -> None:
    class Linking(Memory):
        def link_checkpoint(self, target: Any, path: Any) -> None:
            self.calls.append(f"{Path(path).name} -> {Path(target).name}")

    linking = Linking()
    callback = ModelCheckpoint(tmp_path, filename="{epoch}", save_last="link")
    options = {**QUIET, "enable_checkpointing": True, "max_epochs": 2, "callbacks": callback}
    th.Trainer(**options, plugins=linking).fit(Net(), shuffled(), in_order())
    assert linking.calls == ["save", "last.ckpt -> epoch=0.ckpt", "save", "remove", "last.ckpt -> epoch=1.ckpt"]


def test_an_asynchronous_link_waits_for_what_it_names(tmp_path: Path) -> None:
    go = threading.Event()

    class Waiting(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            assert go.wait(60)
            super().save_checkpoint(checkpoint, path)

    io = AsyncCheckpointIO(Waiting(), pending=2)
    io.save_checkpoint({"state_dict": {}}, tmp_path / "new")
    io.link_checkpoint(tmp_path / "new", tmp_path / "last")
    assert not (tmp_path / "last").is_symlink()
    go.set()
    io.teardown()
    assert (tmp_path / "last").resolve() == tmp_path / "new"


def test_an_asynchronous_write_keeps_the_moment_of_its_call() -> None:
    go, memory = threading.Event(), Memory()

    class Waiting(Memory):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            assert go.wait(60)
            memory.save_checkpoint(checkpoint, path)

    weight = torch.zeros(3)
    io = AsyncCheckpointIO(Waiting())
    io.save_checkpoint({"a": weight, "b": weight}, "one")
    weight.fill_(1.0)
    go.set()
    io.teardown()
    assert torch.equal(memory.kept["one"]["a"], torch.zeros(3))


def test_what_fails_asynchronously_is_raised_and_deletes_nothing() -> None:
    class Full(Memory):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            assert go.wait(60)
            raise OSError("no space left")

    go, inner = threading.Event(), Full()
    io = AsyncCheckpointIO(inner, pending=4)
    io.save_checkpoint({}, "new")
    io.remove_checkpoint("old")
    go.set()
    with pytest.raises(OSError, match="no space left"):
        io.teardown()
    assert "remove" not in inner.calls
    io.teardown()


MISSING = "checkpoint '/data/a.ckpt' could not be written beside training, and nothing that was to follow was done"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/a.draft"),
            f"{MISSING}: no space is left for '/data/a.draft'; free some, or give a directory on another file system",
        ),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), f"{MISSING}: [Errno {errno.ECONNREFUSED}] refused"),
        (RuntimeError("no pickle"), f"no pickle\n{MISSING}"),
    ],
    ids=["in words", "without a path", "another error"],
)
@pytest.mark.parametrize("when", ["end", "next save"])
def test_what_fails_asynchronously_says_which_file_is_missing(error: Exception, said: str, when: str) -> None:
    """The end of a run, or the save after it, has nothing to do with the file that failed."""

    class Failing(Memory):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            raise copy(error)  # notes of an earlier case stay with that

    io = AsyncCheckpointIO(Failing())
    io.save_checkpoint({}, Path("/data/a.ckpt"))
    other = Destination("/other", "ModelCheckpoint(dirpath='/other')", "checkpoints")
    kind = LateCheckpointError if isinstance(error, OSError) else type(error)
    act = io.teardown if when == "end" else lambda: save_until_it_fails(io)
    # Inside of another save, as of a callback's; pytest shows notes in lines of their own.
    with pytest.raises(kind, match=f"^{re.escape(said)}$"), other.naming():
        act()


def save_until_it_fails(io: AsyncCheckpointIO) -> None:
    """What was saved before is written, or not, beside the caller."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        io.save_checkpoint({}, "later")


def test_a_run_ends_when_its_files_are_written(tmp_path: Path) -> None:
    callbacks = [ModelCheckpoint(tmp_path, save_last=True)]
    options = {**QUIET, "enable_checkpointing": True, "max_epochs": 2, "callbacks": callbacks}
    trainer = th.Trainer(**options, plugins=AsyncCheckpointIO())
    net = Net()
    trainer.fit(net, shuffled(), in_order())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in net.state_dict().items())
    assert not [thread for thread in threading.enumerate() if thread.name == "checkpoint-io"]


def test_tied_weights_stay_tied() -> None:
    weight = torch.ones(2)
    copy = detached({"a": weight, "b": [weight.detach()], "c": {"n": 1}})
    assert copy["a"].data_ptr() == copy["b"][0].data_ptr() != weight.data_ptr()


def test_batch_norm_is_put_back() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Sequential(nn.BatchNorm2d(3)))
    before = dict(net.named_parameters())
    sync = TorchSyncBatchNorm()
    net = sync.apply(net)  # type: ignore[assignment]
    assert isinstance(net[1], nn.SyncBatchNorm)
    net = sync.revert(net)  # type: ignore[assignment]
    assert (type(net[1]), type(net[2][0])) == (nn.BatchNorm1d, nn.BatchNorm2d)
    assert all(value is before[name] for name, value in net.named_parameters())
    assert net[1](torch.randn(5, 8)).shape == (5, 8)


class Shouting(th.Callback):
    """A callback of a package."""


def shouting() -> Any:
    return [Shouting()]


def wrong() -> Any:
    return "callback"


def test_callbacks_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    made = shouting

    class Entry(EntryPoint):
        def load(self) -> Any:
            return made

    entry = Entry("mine", "package:factory", "lightning.pytorch.callbacks_factory")
    monkeypatch.setattr(assembly, "entry_points", lambda group: [entry] if group == entry.group else [])
    assert any(isinstance(callback, Shouting) for callback in th.Trainer(**QUIET).callbacks)
    made = wrong
    with pytest.raises(th.MisconfigurationException, match="the entry point 'mine'"):
        th.Trainer(**QUIET)


def test_the_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(th.Trainer(**QUIET).strategy.cluster_environment, LightningEnvironment)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert isinstance(find_cluster(), TorchElasticEnvironment)
    assert not JobEnvironment.detect()


class Cluster(LightningEnvironment):
    """Rank 3 of four processes, two on each of two nodes."""

    creates_processes_externally = True

    def world_size(self) -> int:
        return 4

    def global_rank(self) -> int:
        return 3

    def local_rank(self) -> int:
        return 1

    def node_rank(self) -> int:
        return 1


def test_an_environment_of_ones_own() -> None:
    trainer = th.Trainer(**QUIET, plugins=Cluster(), devices=2, num_nodes=2)
    assert (trainer.global_rank, trainer.local_rank, trainer.node_rank, trainer.world_size) == (3, 1, 1, 4)
    assert trainer.strategy.launcher is None
    with pytest.raises(th.MisconfigurationException, match="is not the number of processes"):
        th.Trainer(**QUIET, plugins=Cluster(), devices=3)


@pytest.mark.parametrize("name", ["transformer-engine", "transformer-engine-float16"])
def test_refused_precisions(name: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=r"is not supported; use '.*16-mixed'"):
        th.Trainer(**QUIET, precision=name)
