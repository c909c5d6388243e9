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
from thunderhead.device_kinds import group_backend, refuse_format
from thunderhead.precision import DoublePrecision

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
    monkeypatch.setattr(torch.mps, "device_count", lambda: 0)
    with pytest.raises(
        th.MisconfigurationException, match=f"accelerator='{name}', but this machine has none; it has cpu"
    ):
        th.Trainer(accelerator=name)


def test_gpu_is_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.mps, "device_count", lambda: 1)
    assert isinstance(choose_accelerator("gpu"), MPSAccelerator)
    assert isinstance(choose_accelerator("auto"), MPSAccelerator)
    assert MPSAccelerator.get_parallel_devices(MPSAccelerator.parse_devices(1)) == [torch.device("mps", 0)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert isinstance(choose_accelerator("gpu"), CUDAAccelerator)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.mps, "device_count", lambda: 0)
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


def test_a_tpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"torch_tpu": None}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: known[name])
    with pytest.raises(th.MisconfigurationException, match=r"'tpu', but the package torch-tpu is not installed; pip"):
        th.Trainer(accelerator="tpu")
    known["torch_tpu"] = object()  # type: ignore[assignment]
    with pytest.raises(th.MisconfigurationException, match=r"added no device to torch.*AUTOLOAD=0 .*use 'cpu'"):
        th.Trainer(accelerator="tpu")
    module = type("tpu", (), {"device_count": staticmethod(lambda: 0)})
    monkeypatch.setattr(torch, "get_device_module", lambda name: module if name == "tpu" else getattr(torch, name))
    with pytest.raises(th.MisconfigurationException, match="torch-tpu finds none on this machine; it has cpu"):
        th.Trainer(accelerator="tpu")


def test_what_torch_does_not_know() -> None:
    with pytest.raises(th.MisconfigurationException, match="'gizmo' does not exist"):
        th.Trainer(accelerator="gizmo")
    with pytest.raises(th.MisconfigurationException, match=r"'tup' does not exist\. Did you mean 'tpu'"):
        th.Trainer(accelerator="tup")


@pytest.mark.parametrize(
    ("type_", "with_host", "backend"),
    [
        ("cpu", False, "gloo"),
        ("cpu", True, "gloo"),
        ("mps", True, "gloo"),
        ("cuda", False, "nccl"),
        ("cuda", True, "cpu:gloo,cuda:nccl"),
        ("tpu", False, "cpu:gloo,tpu:tpu_dist"),
        ("tpu", True, "cpu:gloo,tpu:tpu_dist"),
        ("xpu", False, "cpu:gloo,xpu:xccl"),
    ],
)
def test_over_what_processes_talk(type_: str, with_host: bool, backend: str) -> None:
    assert group_backend(type_, with_host=with_host) == backend


def test_a_device_without_a_group_of_its_own() -> None:
    with pytest.raises(th.MisconfigurationException, match="no back end of process groups for hpu"):
        group_backend("hpu")


@pytest.mark.parametrize(
    ("type_", "precision", "allowed"),
    [
        ("tpu", "16-mixed", False),
        ("tpu", "16-true", False),
        ("tpu", "bf16-mixed", True),
        ("tpu", "bf16-true", True),
        ("mps", "64-true", False),
        ("mps", "16-true", True),
        ("cuda", "16-mixed", True),
        ("xpu", "64-true", True),
    ],
)
def test_number_formats_of_devices(type_: str, precision: str, allowed: bool) -> None:
    if allowed:
        refuse_format(precision, type_)
        return
    with pytest.raises(th.MisconfigurationException, match=f"precision='{precision}' on {type_}: .*use '"):
        refuse_format(precision, type_)


def test_a_plugin_of_a_format_that_the_device_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for arguments in ({"precision": 64}, {"plugins": [DoublePrecision()]}):
        with pytest.raises(th.MisconfigurationException, match="precision='64-true' on mps"):
            th.Trainer(**LOUD, accelerator="mps", **arguments)
