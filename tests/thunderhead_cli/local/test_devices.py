"""GPUs of one machine, dealt to pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from thunderhead_cli.local.devices import machine_devices, pod_devices


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ["0", "1", "10"]),
        ({"CUDA_VISIBLE_DEVICES": "3,1"}, ["3", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-ab, GPU-cd"}, ["GPU-ab", "GPU-cd"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
    ],
)
def test_devices_of_the_machine(tmp_path: Path, environment: dict[str, str], found: list[str]) -> None:
    for name in ("nvidia10", "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "sda1"):
        (tmp_path / name).touch()
    assert machine_devices(environment, tmp_path) == found


@pytest.mark.parametrize(
    ("devices", "shares"),
    [
        (["0", "1", "2", "3"], [["0", "1"], ["2", "3"]]),
        (["7", "5", "3", "1", "0"], [["7", "5"], ["3", "1"]]),
        (["0", "1", "2"], [[], []]),
        ([], [[], []]),
    ],
)
def test_every_process_has_its_own_or_none_has(devices: list[str], shares: list[list[str]]) -> None:
    assert [pod_devices(devices, node_rank=rank, nodes=2, processes_per_node=2) for rank in (0, 1)] == shares
