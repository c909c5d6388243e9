"""Which devices ``accelerator`` and ``devices`` mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead.accelerators import (
    Accelerator,
    CPUAccelerator,
    CUDAAccelerator,
    MPSAccelerator,
    choose_accelerator,
    find_usable_cuda_devices,
    parse_indices,
)

LOUD = {name: value for name, value in QUIET.items() if name != "accelerator"}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four CUDA devices, as far as anybody asks."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.parametrize(
    ("devices", "found"),
    [(2, 2), ("2", 2), (-1, -1), ("-1", -1), ([1], [1]), ("0,2", [0, 2]), ("1,", [1]), ((3, 0), [3, 0])],
)
def test_spellings(devices: Any, found: Any) -> None:
    assert parse_indices(devices) == found


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (0, "leaves no device"),
        ("0", "leaves no device"),
        ([], "leaves no device"),
        ("", "write a number"),
        ("one", "write a number"),
        ("2.5", "write a number"),
        ("--1", "write a number"),
        ("²", "write a number"),
        (-3, "must be a number of devices"),
        (b"1", "must be a number of devices"),
        (-2, "must be a number of devices"),
        (True, "must be a number of devices"),
        (None, "must be a number of devices"),
        (1.5, "must be a number of devices"),
        ([0, 0], "names a device twice"),
        ([-1], "indices are numbers from 0"),
        ([True], "indices are numbers from 0"),
    ],
)
def test_refused(devices: Any, message: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=message):
        th.Trainer(**QUIET, devices=devices)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("devices", "ids"),
    [
        ([1], [1]),
        ("2,", [2]),
        ([1, 3], [1, 3]),
        ("0,2", [0, 2]),
        (2, [0, 1]),
        (-1, [0, 1, 2, 3]),
        ("auto", [0, 1, 2, 3]),
    ],
)
def test_a_list_means_those_very_devices(devices: Any, ids: list[int]) -> None:
    trainer = th.Trainer(**LOUD, devices=devices)
    assert isinstance(trainer.accelerator, CUDAAccelerator)
    assert trainer.device_ids == ids
    assert trainer.num_devices == trainer.world_size == len(ids)
    assert trainer.strategy.root_device == torch.device("cuda", ids[0])
    assert trainer.strategy.name == ("ddp" if len(ids) > 1 else "single_device")


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(("devices", "device"), [([1, 3], 3), ("auto", 1), (-1, 1), (2, 1)])
def test_a_rank_of_a_launcher_takes_its_device(monkeypatch: pytest.MonkeyPatch, devices: Any, device: int) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    trainer = th.Trainer(**LOUD, devices=devices)
    assert trainer.strategy.root_device == torch.device("cuda", device)
    assert trainer.strategy.launcher is None


@pytest.mark.usefixtures("gpus")
def test_a_notebook_takes_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    assert th.Trainer(**LOUD).device_ids == [0]
    assert th.Trainer(**LOUD, devices=2).strategy.start_method == "fork"  # type: ignore[attr-defined]
    with pytest.raises(th.MisconfigurationException, match="interactive session; use 'ddp_notebook'"):
        th.Trainer(**LOUD, devices=2, strategy="ddp")


@pytest.mark.usefixtures("gpus")
def test_devices_that_are_not_there() -> None:
    with pytest.raises(
        th.MisconfigurationException, match=r"devices=\[4\], but this machine has 4, with the indices 0"
    ):
        th.Trainer(**LOUD, devices=[4])
    with pytest.raises(th.MisconfigurationException, match="devices=5, but this machine has 4"):
        th.Trainer(**LOUD, devices=5)
    with pytest.raises(th.MisconfigurationException, match="processors are not counted"):
        th.Trainer(**QUIET, devices=-1)


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
def test_what_is_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        th.MisconfigurationException, match=f"accelerator='{name}', but this machine has none; it has cpu"
    ):
        th.Trainer(accelerator=name)


def test_gpu_is_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert isinstance(choose_accelerator("gpu"), MPSAccelerator)
    assert isinstance(choose_accelerator("auto"), MPSAccelerator)
    assert MPSAccelerator.get_parallel_devices(MPSAccelerator.parse_devices(1)) == [torch.device("mps", 0)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert isinstance(choose_accelerator("gpu"), CUDAAccelerator)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert isinstance(choose_accelerator("auto"), CPUAccelerator)


class Meter(Accelerator):
    """Two processors that call themselves something else."""

    def __init__(self) -> None:
        self.taken: list[torch.device] = []

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def parse_devices(devices: Any) -> int:
        return int(devices)

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device("cpu", index) for index in range(devices)]

    def setup_device(self, device: torch.device) -> None:
        self.taken.append(device)


def test_an_accelerator_of_ones_own() -> None:
    meter = Meter()
    trainer = th.Trainer(**LOUD, accelerator=meter, max_epochs=1)
    trainer.fit(Net(), shuffled(), in_order())
    assert trainer.accelerator is meter
    assert meter.taken == [torch.device("cpu", 0)]


def test_usable_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)

    def tensor(value: int, device: torch.device) -> None:
        if device.index == 1:
            raise RuntimeError("all CUDA-capable devices are busy or unavailable")

    monkeypatch.setattr(torch, "tensor", tensor)
    assert find_usable_cuda_devices() == [0, 2]
    assert find_usable_cuda_devices(1) == [0]
    assert find_usable_cuda_devices(0) == []
    with pytest.raises(th.MisconfigurationException, match=r"only \[0, 2\] of 3"):
        find_usable_cuda_devices(3)
    with pytest.raises(th.MisconfigurationException, match="has 3 CUDA devices"):
        find_usable_cuda_devices(4)
