"""Numbers on their way from a device to the host, without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from thunderhead.device_kinds import kind_of


def widest(device: torch.device) -> torch.dtype:
    """What holds any floating-point number of the device."""
    return kind_of(device.type).widest


class HostCopy:
    """A copy of several values that was started; ``numbers`` waits for it, which long ago started costs nothing.

    Args:
        values: tensors of one element each, on one device; or one tensor of several, of their widest type, which
            nobody writes to any more.
    """

    def __init__(self, values: list[Tensor] | Tensor) -> None:
        wide = widest(values[0].device)
        if isinstance(values, Tensor):
            stacked = values
        else:
            stacked = torch.stack([value.detach().reshape(()).to(wide) for value in values])
        self._event: torch.cuda.Event | None = None
        self._host = stacked
        if stacked.is_cuda:
            # Pinned memory and an event: the copy runs behind the kernels that are queued already.
            self._host = torch.empty(stacked.shape, dtype=wide, pin_memory=True)
            self._host.copy_(stacked, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's
            self._event.record()

    def numbers(self) -> list[float]:
        """The values, in order."""
        if self._event is not None:
            self._event.synchronize()
        found: list[float] = self._host.cpu().tolist()
        return found


class NamedCopies:
    """Copies of named values that may live on different devices, started together.

    Args:
        values: tensors of one element each, by name.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        names: dict[torch.device, list[str]] = {}
        for name, value in values.items():
            names.setdefault(value.device, []).append(name)
        self._copies = [(found, HostCopy([values[name] for name in found])) for found in names.values()]

    def numbers(self) -> dict[str, float]:
        """The values, by name; waits for the copies."""
        return {
            name: number for names, copy in self._copies for name, number in zip(names, copy.numbers(), strict=True)
        }
