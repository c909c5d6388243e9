"""Which GPUs of this machine a pod gets: on a cluster every pod has its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


def machine_devices(environment: Mapping[str, str], dev: Path = Path("/dev")) -> list[str]:
    """GPUs that this command may use: those of ``CUDA_VISIBLE_DEVICES``, or all that the driver shows."""
    if VISIBLE in environment:
        return [device.strip() for device in environment[VISIBLE].split(",") if device.strip()]
    numbers = [path.name.removeprefix("nvidia") for path in dev.glob("nvidia[0-9]*")]
    return sorted((number for number in numbers if number.isdigit()), key=int)


def pod_devices(devices: Sequence[str], *, node_rank: int, nodes: int, processes_per_node: int) -> list[str]:
    """GPUs of one pod, one per process; none for any pod where there are not enough for all.

    Two processes on one GPU would fail in NCCL, and a job whose ranks compute on different kinds of device is no job.
    """
    if len(devices) < nodes * processes_per_node:
        return []
    return list(devices[node_rank * processes_per_node :][:processes_per_node])
