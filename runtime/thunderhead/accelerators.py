"""Kinds of devices: which there are, which of them ``devices`` means, and how a process takes one.

``Trainer(accelerator=...)`` takes the name of one or an instance; derive from :class:`Accelerator` for another kind.
Asking for devices initialises none, so that processes can still be forked afterwards.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from thunderhead.device_kinds import KINDS, DeviceKind, device_count, kind_of, module_of, present, why_absent
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


class TorchAccelerator(Accelerator):
    """Devices that torch counts, by its module of their kind; :func:`accelerator_class` makes the class of a kind."""

    kind: ClassVar[DeviceKind]

    @classmethod
    def name(cls) -> str:
        return cls.kind.type

    @classmethod
    def is_available(cls) -> bool:
        return cls.auto_device_count() > 0

    @classmethod
    def auto_device_count(cls) -> int:
        return device_count(cls.kind.type)

    @classmethod
    def parse_devices(cls, devices: object) -> list[int]:
        return _present(devices, cls.auto_device_count())

    @classmethod
    def get_parallel_devices(cls, devices: Sequence[int]) -> list[torch.device]:
        return [torch.device(cls.kind.type, index) for index in devices]

    def setup_device(self, device: torch.device) -> None:
        take = getattr(module_of(device.type), "set_device", None)
        if take is not None:  # where there is but one, there may be nothing to take
            take(device)

    def get_device_stats(self, device: torch.device) -> dict[str, Any]:
        stats = getattr(module_of(device.type), "memory_stats", None)
        return {} if stats is None else dict(stats(device))


class CUDAAccelerator(TorchAccelerator):
    """NVIDIA's and AMD's GPUs."""

    kind = kind_of("cuda")


class MPSAccelerator(TorchAccelerator):
    """Apple's GPU, of which there is one."""

    kind = kind_of("mps")


_CLASSES: dict[str, type[Accelerator]] = {"cpu": CPUAccelerator, "cuda": CUDAAccelerator, "mps": MPSAccelerator}
_NAMES = ("auto", "gpu", *KINDS)
_NUMBER = re.compile(r"-?[0-9]+")


def accelerator_class(type_: str) -> type[Accelerator]:
    """The accelerator of torch's devices of this kind; equal each time."""
    if type_ not in _CLASSES:
        members = {"kind": kind_of(type_), "__doc__": f"Devices that torch calls {type_}.", "__module__": __name__}
        _CLASSES[type_] = type(f"{type_.upper()}Accelerator", (TorchAccelerator,), members)
    return _CLASSES[type_]


def choose_accelerator(asked: object) -> Accelerator:
    """The accelerator called ``asked``, or itself; ``auto`` is the best there is and ``gpu`` any of the GPUs.

    Raises:
        MisconfigurationException: it is unknown, refused, or not there.
    """
    if isinstance(asked, Accelerator):
        if not asked.is_available():
            raise MisconfigurationException(
                f"accelerator={type(asked).__name__}, but this machine has none; it has {' and '.join(present())}"
            )
        return asked
    if asked == "xla":
        raise MisconfigurationException("accelerator='xla': torch_xla has ended; use 'tpu', by the package torch-tpu")
    if not isinstance(asked, str) or (asked not in _NAMES and not device_count(asked)):
        raise MisconfigurationException(
            f"accelerator={asked!r} does not exist.{did_you_mean(str(asked), _NAMES)} There are {', '.join(_NAMES)}, "
            "other devices of torch where they are, and instances of Accelerator"
        )
    there = present()
    if asked == "auto":
        return accelerator_class(there[0])()
    if asked == "gpu":
        asked = next((type_ for type_ in there if kind_of(type_).is_gpu), asked)
    if asked not in there:
        raise MisconfigurationException(f"accelerator={asked!r}, but {why_absent(asked)}")
    return accelerator_class(asked)()


def accelerator_of(device: torch.device) -> Accelerator:
    """The accelerator that a device belongs to; the processor's for one that torch does not count."""
    return (CPUAccelerator if module_of(device.type) is None else accelerator_class(device.type))()


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
