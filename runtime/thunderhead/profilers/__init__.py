"""How long things take: what a Trainer may be given as ``profiler``."""

from typing import TYPE_CHECKING

from thunderhead.compat.unknown import refusing
from thunderhead.profilers.advanced import AdvancedProfiler
from thunderhead.profilers.profiler import PassThroughProfiler, Profiler
from thunderhead.profilers.pytorch import PyTorchProfiler
from thunderhead.profilers.simple import SimpleProfiler

__all__ = ["AdvancedProfiler", "PassThroughProfiler", "Profiler", "PyTorchProfiler", "SimpleProfiler"]

if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__)
