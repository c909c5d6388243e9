"""Rates of a loop of the user's own, sent to Fabric's loggers."""

from __future__ import annotations

from typing import Any

from thunderhead.fabric.fabric import Fabric
from thunderhead.throughput import Throughput, get_available_flops


class FabricThroughputMonitor(Throughput):
    """``Throughput`` that knows Fabric's devices; ranks other than 0 count nothing.

    Args:
        fabric: whose.
        **kwargs: of ``Throughput``: ``window_size``, ``separator``.

    Attributes:
        step: of the newest rates.
    """

    def __init__(self, fabric: Fabric, **kwargs: Any) -> None:
        available = get_available_flops(fabric.device, fabric.strategy.precision.compute_dtype)
        super().__init__(available, fabric.world_size, **kwargs)
        self._fabric = fabric
        self.step = -1

    def update(self, **counters: Any) -> None:
        """As ``Throughput`` does."""
        if self._fabric.is_global_zero:
            super().update(**counters)

    def compute(self) -> dict[str, float]:
        """As ``Throughput`` does; nothing on other ranks."""
        return super().compute() if self._fabric.is_global_zero else {}

    def compute_and_log(self, step: int | None = None) -> dict[str, float]:
        """Send the rates to the loggers; the steps count up where none is given."""
        self.step = self.step + 1 if step is None else step
        found = self.compute()
        self._fabric.log_dict(found, step=self.step)
        return found


ThroughputMonitor = FabricThroughputMonitor
