"""How long things take: what a Trainer may be given as ``profiler``."""

from typing import TYPE_CHECKING

from thunderhead.compat.unknown import on_demand
from thunderhead.profilers.profiler import PassThroughProfiler, Profiler

__all__ = ["AdvancedProfiler", "PassThroughProfiler", "Profiler", "PyTorchProfiler", "SimpleProfiler"]

if TYPE_CHECKING:
    from thunderhead.profilers.advanced import AdvancedProfiler
    from thunderhead.profilers.pytorch import PyTorchProfiler
    from thunderhead.profilers.simple import SimpleProfiler
else:
    _HOMES = {"AdvancedProfiler": "advanced", "PyTorchProfiler": "pytorch", "SimpleProfiler": "simple"}
    __getattr__ = on_demand(__name__, _HOMES, __all__)
