"""What codebases on Fabric import from its inside does what its name says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead import compat
from thunderhead.compat import names


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


def test_every_name_without_a_home_says_what_to_use() -> None:
    lacking = {name for module, found in names.MODULES.items() for name in found if names.home(module, name) is None}
    assert [name for name in sorted(lacking) if names.reason(name) == names.reason("never heard of")] == []


@pytest.mark.parametrize("kind", ["csv", "tensorboard"])
def test_loggers_take_a_root_dir(tmp_path: Path, kind: str) -> None:
    from lightning.fabric import Fabric
    from lightning.fabric.loggers import CSVLogger, TensorBoardLogger

    made: Any = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}[kind]
    logger = made(root_dir=tmp_path, name="run", version=3)
    fabric = Fabric(accelerator="cpu", devices=1, loggers=logger)
    fabric.log_dict({"loss": torch.tensor(0.5)}, step=2)
    fabric.logger.finalize("success")
    assert logger.log_dir == str(tmp_path / "run/version_3")
    if kind == "csv":
        assert (tmp_path / "run/version_3/metrics.csv").read_text().split() == ["loss,step", "0.5,2"]
    else:
        assert list((tmp_path / "run/version_3").glob("events*"))
    with pytest.raises(TypeError, match="_dir"):
        made(save_dir=tmp_path)


def test_throughput_goes_to_the_loggers() -> None:
    from lightning.fabric import Fabric
    from lightning.fabric.utilities import ThroughputMonitor
    from lightning.fabric.utilities.throughput import Throughput

    told: list[Any] = []

    class Told:
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            told.append((step, metrics))

    fabric = Fabric(accelerator="cpu", devices=1, loggers=Told())
    monitor = ThroughputMonitor(fabric, window_size=2)
    assert isinstance(monitor, Throughput)
    for at in (1, 2):
        monitor.update(time=float(at), batches=at, samples=4 * at)
        found = monitor.compute_and_log()
    assert found["device/samples_per_sec"] == 4.0
    assert [step for step, _ in told] == [0, 1]
    assert told[-1][1] == found
    assert monitor.compute_and_log(step=9)["batches"] == 2
    assert told[-1][0] == 9


def test_the_strategy_tells_the_number_format() -> None:
    from lightning.fabric.plugins import BitsandbytesPrecision, Precision

    fabric = th.Fabric(accelerator="cpu", devices=1, precision="bf16-true")
    assert isinstance(fabric.strategy.precision, Precision)
    assert not isinstance(fabric.strategy.precision, BitsandbytesPrecision)


def test_weights_are_read_when_they_are_used(tmp_path: Path) -> None:
    from lightning.fabric.utilities.load import _lazy_load, _NotYetLoadedTensor

    torch.save({"w": torch.arange(4.0), "n": 3}, tmp_path / "w.pth")
    found = _lazy_load(tmp_path / "w.pth")
    assert torch.equal(found["w"], torch.arange(4.0))
    assert found["n"] == 3
    assert not isinstance(found["w"], _NotYetLoadedTensor)
    with pytest.raises(FileNotFoundError, match="is no file"):
        _lazy_load(tmp_path / "nothing.pth")


def test_modules_leave_the_meta_device() -> None:
    from lightning.fabric.utilities.init import _materialize_meta_tensors

    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    kept = nn.Linear(3, 3)
    module.append(kept)
    before = kept.weight.clone()
    torch.manual_seed(1)
    _materialize_meta_tensors(module, torch.device("cpu"))
    torch.manual_seed(1)
    expected = nn.Linear(2, 3)
    assert torch.equal(module[0].weight, expected.weight)
    assert torch.equal(module[1].running_var, torch.ones(3))
    assert torch.equal(kept.weight, before)


def test_collections_become_tensors_and_numbers() -> None:
    from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars, convert_to_tensors

    made = convert_to_tensors({"a": 1, "b": [2.5, True], "c": np.ones(2), "d": "word"}, torch.device("cpu"))
    assert made["a"].dtype is torch.int64
    assert made["b"][0].item() == 2.5
    assert made["b"][1].dtype is torch.bool
    assert torch.equal(made["c"], torch.ones(2, dtype=torch.float64))
    assert made["d"] == "word"
    assert convert_tensors_to_scalars({"a": torch.tensor([2]), "b": (torch.tensor(0.5), "x")}) == {
        "a": 2,
        "b": (0.5, "x"),
    }
    with pytest.raises(ValueError, match="2 elements"):
        convert_tensors_to_scalars(torch.ones(2))


def test_sizes_of_batches() -> None:
    from lightning.pytorch.utilities.data import extract_batch_size

    assert extract_batch_size({"x": torch.ones(3, 2), "name": "a"}) == 3
    with pytest.raises(RuntimeError, match="pass batch_size="):
        extract_batch_size("words")
    with pytest.warns(UserWarning, match="differ"):
        assert extract_batch_size([torch.ones(3), torch.ones(2)]) == 3


class _Endless(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def test_lengths() -> None:
    from lightning.pytorch.utilities.data import has_len_all_ranks

    strategy = th.Trainer(accelerator="cpu", devices=1, logger=False).strategy
    assert has_len_all_ranks(DataLoader(TensorDataset(torch.ones(2))), strategy)
    assert not has_len_all_ranks(DataLoader(_Endless()), strategy)


def test_samplers_are_divided() -> None:
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

    order = list(RandomSampler(range(10), generator=torch.Generator().manual_seed(3)))
    parts = [
        list(
            DistributedSamplerWrapper(
                RandomSampler(range(10), generator=torch.Generator().manual_seed(3)), 2, rank, shuffle=False
            )
        )
        for rank in (0, 1)
    ]
    assert parts == [order[0::2], order[1::2]]


def test_loader_processes_draw_apart() -> None:
    from lightning.fabric.utilities.seed import pl_worker_init_function

    drawn = set()
    with torch.random.fork_rng():
        for base, rank in ((1, 0), (1, 1), (2, 0)):
            for worker in (0, 1):
                torch.manual_seed(base + worker)  # as torch seeds it
                pl_worker_init_function(worker, rank)
                drawn.add(torch.rand(1).item())
    assert len(drawn) == 6


def _shared(rank: int, folder: str) -> bool:
    from thunderhead.compat.internal_fabric import is_shared_filesystem

    fabric = th.Fabric(accelerator="cpu", strategy="ddp", devices=2)
    fabric.launch()
    return is_shared_filesystem(fabric.strategy, folder)


def test_places_are_shared(tmp_path: Path) -> None:
    from lightning.fabric.utilities import is_shared_filesystem

    (tmp_path / "shared").mkdir()
    assert is_shared_filesystem(th.Fabric(accelerator="cpu", devices=1).strategy, tmp_path)
    assert run_ranks(_shared, 2, tmp_path, str(tmp_path / "shared")) == [True, True]
    assert list((tmp_path / "shared").iterdir()) == []


def test_reasons_of_tests() -> None:
    from lightning.fabric.utilities.testing import _runif_reasons

    assert _runif_reasons(min_cuda_gpus=99, min_python="3.9", standalone=False) == (["min_cuda_gpus=99"], {})
    assert _runif_reasons(min_torch="99.0", max_torch="2.0")[0] == ["min_torch=99.0", "max_torch=2.0"]


def test_descriptions_of_objects_need_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codebases pin an older jsonargparse than ours and import this one name beside it."""
    import sys

    monkeypatch.setitem(sys.modules, "thunderhead.cli", None)
    from lightning.pytorch.cli import instantiate_class

    assert instantiate_class((2, 3), {"class_path": "builtins.complex"}) == 2 + 3j


def test_weights_that_are_filled_later_draw_nothing() -> None:
    fabric = th.Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with fabric.init_module(empty_init=True):
        made = nn.Sequential(nn.Linear(3, 4), nn.Embedding(3, 2), nn.LSTM(2, 2))
    assert torch.equal(torch.rand(2), expected)
    made[0].reset_parameters()
    torch.manual_seed(3)
    with fabric.init_module():
        nn.Linear(3, 4)
    assert not torch.equal(torch.rand(2), expected)
