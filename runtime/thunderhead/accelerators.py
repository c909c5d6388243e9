"""Kinds of devices: which there are, which of them ``devices`` means, and how a process takes one.

``Trainer(accelerator=...)`` takes the name of one or an instance; derive from :class:`Accelerator` for another kind.
Asking for devices never initialises CUDA, so that processes can still be forked afterwards.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from thunderhead.exceptions import MisconfigurationException, did_you_mean

__all__ = ["Accelerator", "CPUAccelerator", "CUDAAccelerator", "MPSAccelerator", "find_usable_cuda_devices"]


class Accelerator(ABC):
    """One kind of device."""

    @staticmethod
    def name() -> str:
        """What ``Trainer(accelerator=...)`` calls it; an instance needs none."""
        return "custom"

    @staticmethod
    @abstractmethod
    def is_available() -> bool:
        """Whether this machine has one."""

    @staticmethod
    @abstractmethod
    def auto_device_count() -> int:
        """How many ``devices="auto"`` means."""

    @staticmethod
    @abstractmethod
    def parse_devices(devices: Any) -> Any:
        """``devices`` in the form that ``get_parallel_devices`` takes.

        Raises:
            MisconfigurationException: it names devices that this machine has not.
        """

    @staticmethod
    @abstractmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """The device of each process of this node."""

    def setup_device(self, device: torch.device) -> None:  # noqa: B027 - optional for implementers
        """Make ``device`` the one that this process works with."""

    def get_device_stats(self, device: torch.device) -> dict[str, Any]:
        """What can be measured about a device, by name."""
        return {}

    def teardown(self) -> None:  # noqa: B027 - optional for implementers
        """The run is over."""


def cpu_stats() -> dict[str, float]:
    """Load and memory of this machine, in percent.

    Raises:
        MisconfigurationException: psutil is not installed.
    """
    try:
        import psutil  # type: ignore[import-not-found,import-untyped,unused-ignore]  # optional
    except ImportError as error:
        raise MisconfigurationException(
            "statistics of the processor are measured by psutil, which is not installed; pip install psutil, or pass "
            "DeviceStatsMonitor(cpu_stats=False)"
        ) from error
    return {
        "cpu_percent": psutil.cpu_percent(),
        "cpu_vm_percent": psutil.virtual_memory().percent,
        "cpu_swap_percent": psutil.swap_memory().percent,
    }


class CPUAccelerator(Accelerator):
    """The processor. It is not counted: ``devices`` is the number of processes."""

    def get_device_stats(self, device: torch.device) -> dict[str, Any]:
        return cpu_stats()

    @staticmethod
    def name() -> str:
        return "cpu"

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def parse_devices(devices: object) -> int:
        wanted = parse_indices(devices)
        if wanted == -1:
            raise MisconfigurationException(
                f"devices={devices!r} means all there are, and processors are not counted; give the number of processes"
            )
        return wanted if isinstance(wanted, int) else len(wanted)

    @staticmethod
    def get_parallel_devices(devices: int) -> list[torch.device]:
        return [torch.device("cpu")] * int(devices)


class CUDAAccelerator(Accelerator):
    """NVIDIA's and AMD's GPUs."""

    @staticmethod
    def name() -> str:
        return "cuda"

    @staticmethod
    def is_available() -> bool:
        return torch.cuda.device_count() > 0

    @staticmethod
    def auto_device_count() -> int:
        return torch.cuda.device_count()

    @staticmethod
    def parse_devices(devices: object) -> list[int]:
        return _present(devices, torch.cuda.device_count())

    @staticmethod
    def get_parallel_devices(devices: Sequence[int]) -> list[torch.device]:
        return [torch.device("cuda", index) for index in devices]

    def setup_device(self, device: torch.device) -> None:
        torch.cuda.set_device(device)

    def get_device_stats(self, device: torch.device) -> dict[str, Any]:
        return dict(torch.cuda.memory_stats(device))


class MPSAccelerator(Accelerator):
    """Apple's GPU, of which there is one."""

    @staticmethod
    def name() -> str:
        return "mps"

    @staticmethod
    def is_available() -> bool:
        return torch.backends.mps.is_available()

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def parse_devices(devices: object) -> list[int]:
        return _present(devices, 1)

    @staticmethod
    def get_parallel_devices(devices: Sequence[int]) -> list[torch.device]:
        return [torch.device("mps", index) for index in devices]


_KINDS: dict[str, type[Accelerator]] = {"cpu": CPUAccelerator, "cuda": CUDAAccelerator, "mps": MPSAccelerator}
_NAMES = ("auto", "cpu", "gpu", "cuda", "mps")
_NUMBER = re.compile(r"-?[0-9]+")


def choose_accelerator(asked: object) -> Accelerator:
    """The accelerator called ``asked``, or itself; ``auto`` is the best there is and ``gpu`` either of the GPUs.

    Raises:
        MisconfigurationException: it is unknown, refused, or not there.
    """
    if isinstance(asked, Accelerator):
        return _available(asked, type(asked).__name__)
    if asked in ("tpu", "xla"):
        raise MisconfigurationException(f"accelerator={asked!r}: XLA is not supported; use 'cuda' or 'cpu'")
    if asked not in _NAMES:
        raise MisconfigurationException(
            f"accelerator={asked!r} does not exist.{did_you_mean(str(asked), _NAMES)} There are {', '.join(_NAMES)}, "
            "and instances of Accelerator"
        )
    found = [kind for kind in (CUDAAccelerator, MPSAccelerator) if kind.is_available()]
    if asked == "auto":
        return found[0]() if found else CPUAccelerator()
    if asked == "gpu":
        return found[0]() if found else _available(CUDAAccelerator(), asked)
    return _available(_KINDS[asked](), asked)


def _available(accelerator: Accelerator, asked: str) -> Accelerator:
    if accelerator.is_available():
        return accelerator
    there = [name for name, kind in _KINDS.items() if kind.is_available()]
    raise MisconfigurationException(
        f"accelerator={asked!r}, but this machine has none; it has {' and '.join(there)}. Use {there[-1]!r} or 'auto'"
    )


def accelerator_of(device: torch.device) -> Accelerator:
    """The accelerator that a device belongs to."""
    return _KINDS.get(device.type, CPUAccelerator)()


def parse_indices(devices: object) -> int | list[int]:
    """``devices`` as a count (-1 for all) or as the indices that a list, or a string with commas, names.

    Raises:
        MisconfigurationException: it is neither, names none, or one of them twice.
    """
    found = devices
    if isinstance(devices, str):
        parts = [part.strip() for part in devices.split(",")]
        if not all(_NUMBER.fullmatch(part) for part in parts if part) or not any(parts):
            raise MisconfigurationException(
                f"devices={devices!r}: write a number, indices such as '0,2', '-1' for all, or 'auto'"
            )
        found = [int(part) for part in parts if part] if "," in devices else int(devices)
    if isinstance(found, Sequence) and not isinstance(found, (str, bytes)):
        return _checked(devices, list(found))
    if isinstance(found, bool) or not isinstance(found, int) or found < -1:
        raise MisconfigurationException(
            f"devices={devices!r} must be a number of devices, a list of indices, -1 for all, or 'auto'"
        )
    if found == 0:
        raise MisconfigurationException(
            f"devices={devices!r} leaves no device to run on; use a number from 1, a list such as [0], or 'auto'"
        )
    return found


def _checked(devices: object, indices: list[Any]) -> list[int]:
    if not indices:
        raise MisconfigurationException(f"devices={devices!r} leaves no device to run on; name one, or use 'auto'")
    if any(isinstance(index, bool) or not isinstance(index, int) or index < 0 for index in indices):
        raise MisconfigurationException(f"devices={devices!r}: indices are numbers from 0")
    if len(set(indices)) != len(indices):
        raise MisconfigurationException(f"devices={devices!r} names a device twice")
    return indices


def _present(devices: object, count: int) -> list[int]:
    wanted = parse_indices(devices)
    if wanted == -1:
        return list(range(count))
    indices = list(range(wanted)) if isinstance(wanted, int) else wanted
    if max(indices) >= count:
        there = f"{count}, with the indices 0 to {count - 1}" if count > 1 else f"{count}, with the index 0"
        raise MisconfigurationException(f"devices={devices!r}, but this machine has {there}")
    return indices


def find_usable_cuda_devices(num_devices: int = -1) -> list[int]:
    """Indices of CUDA devices that a tensor can be put on now, as one in exclusive use by another process cannot.

    Args:
        num_devices: how many to find; -1 for all.

    Raises:
        MisconfigurationException: there are fewer devices, or fewer usable ones.
    """
    if num_devices == 0:
        return []
    count = torch.cuda.device_count()
    if num_devices > count or count == 0:
        raise MisconfigurationException(f"num_devices={num_devices}, but this machine has {count} CUDA devices")
    usable: list[int] = []
    for index in range(count):
        try:
            torch.tensor(0, device=torch.device("cuda", index))
        except RuntimeError:
            continue  # in use: that is the answer
        usable.append(index)
        if len(usable) == num_devices:
            break
    if num_devices != -1 and len(usable) != num_devices:
        raise MisconfigurationException(f"num_devices={num_devices}, but only {usable} of {count} can be used now")
    return usable
