"""Batches, samples and operations per second, over a window of the newest batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from thunderhead.exceptions import MisconfigurationException
from thunderhead.warning import warn_once


class Throughput:
    """Rates from counters that only grow.

    ==========================================  =======================================================================
    ``time, batches, samples, lengths``         the newest counters
    ``device/batches_per_sec`` and its kin      for one device, over the window; once it is full
    ``device/flops_per_sec``, ``device/mfu``    the same for operations, and their share of ``available_flops``
    ``batches_per_sec`` and its kin             for all devices, where there are several
    ==========================================  =======================================================================

    Args:
        available_flops: what one device could do at most, per second.
        world_size: devices.
        window_size: updates between which rates are taken.
        separator: between ``device`` and a name.

    Raises:
        MisconfigurationException: a number is out of range.
    """

    def __init__(
        self, available_flops: float | None = None, world_size: int = 1, window_size: int = 100, separator: str = "/"
    ) -> None:
        for name, value, least in (("world_size", world_size, 1), ("window_size", window_size, 2)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise MisconfigurationException(f"Throughput: {name}={value!r} must be an integer of at least {least}")
        self.available_flops, self.world_size, self.separator = available_flops, world_size, separator
        self._window = window_size
        self._counters: dict[str, deque[float]] = {
            name: deque(maxlen=window_size) for name in ("time", "batches", "samples", "lengths")
        }
        self._flops: deque[float] = deque(maxlen=window_size)

    def update(
        self, *, time: float, batches: int, samples: int, lengths: int | None = None, flops: float | None = None
    ) -> None:
        """Take the counters after a batch; all but ``flops`` count from the beginning.

        Args:
            time: seconds.
            batches: of this device.
            samples: of this device.
            lengths: items in these.
            flops: operations of this device since the update before.

        Raises:
            ValueError: a counter did not grow, or there are fewer samples than batches, or fewer items than samples.
        """
        given = {"time": time, "batches": batches, "samples": samples, "lengths": lengths}
        for less, more in (("batches", "samples"), ("samples", "lengths")):
            one, other = given[less], given[more]
            if one is not None and other is not None and other < one:
                raise ValueError(f"Throughput.update({more}={other}) must be at least {less}={one}")
        for name, value in given.items():
            if value is None:
                continue
            before = self._counters[name]
            if before and before[-1] >= value:
                raise ValueError(f"Throughput.update({name}={value}) must be more than {before[-1]}, the one before")
            before.append(value)
        if lengths is not None and len(self._counters["lengths"]) != len(self._counters["samples"]):
            raise ValueError("Throughput.update: lengths must be given each time or never")
        if flops is not None:
            self._flops.append(flops * self.world_size)

    def compute(self) -> dict[str, float]:
        """See the class; rates once the window is full."""
        counters = self._counters
        found = {name: values[-1] for name, values in counters.items() if values}
        if len(counters["time"]) < self._window:
            return found
        elapsed = counters["time"][-1] - counters["time"][0]
        for name, rate in (("batches", "batches"), ("samples", "samples"), ("lengths", "items")):
            values = counters[name]
            if len(values) == self._window:
                self._add(found, f"{rate}_per_sec", (values[-1] - values[0]) / elapsed)
        if len(self._flops) == self._window:
            # What the first update of the window did was before its time.
            rate_of_device = (sum(self._flops) - self._flops[0]) / elapsed / self.world_size
            self._add(found, "flops_per_sec", rate_of_device)
            if self.available_flops:
                found[f"device{self.separator}mfu"] = rate_of_device / self.available_flops
        return found

    def reset(self) -> None:
        """Begin anew."""
        for values in (*self._counters.values(), self._flops):
            values.clear()

    def _add(self, found: dict[str, float], name: str, of_device: float) -> None:
        found[f"device{self.separator}{name}"] = of_device
        if self.world_size > 1:
            found[name] = of_device * self.world_size


def measure_flops(
    model: nn.Module, forward_fn: Callable[[], Tensor], loss_fn: Callable[[Tensor], Tensor] | None = None
) -> int:
    """How many floating-point operations a forward costs, or a forward and a backward; a model on ``meta`` will do.

    Args:
        model: whose operations they are.
        forward_fn: calls it.
        loss_fn: makes a loss of what that returned, whose backward counts, too.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        output = forward_fn()
        if loss_fn is not None:
            loss_fn(output).backward()  # type: ignore[no-untyped-call]  # torch's
    return int(counter.get_total_flops())


# Dense operations per second of one device, as its vendor's data sheet says: double, single, tf32, half, 8 bits.
# In order: a name that stands for several is after those that say more.
_SHEETS: Final[tuple[tuple[str, tuple[float | None, ...]], ...]] = (
    ("b200", (37e12, 75e12, 1.1e15, 2.25e15, 4.5e15)),
    ("h200 nvl", (30e12, 60e12, 417.5e12, 835.5e12, 1670.5e12)),
    ("h200", (34e12, 67e12, 494.5e12, 989.5e12, 1979e12)),
    ("h100 nvl", (30e12, 60e12, 417.5e12, 835.5e12, 1670.5e12)),
    ("h100 pcie", (26e12, 51e12, 378e12, 756e12, 1513e12)),
    ("h100", (34e12, 67e12, 494.5e12, 989.5e12, 1979e12)),
    ("a100", (9.7e12, 19.5e12, 156e12, 312e12, 624e12)),
    ("rtx a6000", (None, 38.7e12, 77.4e12, 154.8e12, 309.7e12)),
    ("a40", (None, 37.4e12, 74.8e12, 149.7e12, 299.3e12)),
    ("a10g", (None, 31.5e12, 35e12, 70e12, 140e12)),
    ("a10", (None, 31.2e12, 62.5e12, 125e12, 250e12)),
    ("l40s", (None, 91.6e12, 183e12, 362e12, 733e12)),
    ("l40", (None, 90.5e12, 90.5e12, 181e12, 362e12)),
    ("l4", (None, 30.3e12, 60e12, 121e12, 242e12)),
    ("t4", (None, 8.1e12, None, 65e12, 130e12)),
    ("v100-sxm", (7.8e12, 15.7e12, None, 125e12, None)),
    ("v100-pcie", (7e12, 14e12, None, 112e12, None)),
)
_COLUMNS: Final = {torch.float64: 0, torch.float32: 1, torch.float16: 3, torch.bfloat16: 3, torch.int8: 4}
_NO_BF16: Final = ("t4", "v100-sxm", "v100-pcie")


def get_available_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """What a device could do at most in ``dtype``, in operations per second; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    found = flops_of(name, dtype, tf32=torch.get_float32_matmul_precision() != "highest")
    if found is None:
        warn_once(
            f"it is not known how many operations per second {name} can do in {dtype}, so MFU is not logged; pass "
            "ThroughputMonitor(available_flops=...)"
        )
    return found


def flops_of(name: str, dtype: torch.dtype, *, tf32: bool) -> float | None:
    """The figure of a device by torch's name of it; ``tf32``: single precision is multiplied by it."""
    sheet = next(((key, row) for key, row in _SHEETS if key in name.lower()), None)
    column = _COLUMNS.get(dtype)
    if sheet is None or column is None or (dtype is torch.bfloat16 and sheet[0] in _NO_BF16):
        return None
    faster = sheet[1][2] if tf32 and dtype is torch.float32 else None
    return faster or sheet[1][column]
