"""How a module is spread over processes; pass one as ``Trainer(strategy=...)`` to set what its name does not."""

from typing import TYPE_CHECKING

from thunderhead.compat.unknown import refusing
from thunderhead.distributed.fsdp import FSDPStrategy
from thunderhead.distributed.model_parallel import ModelParallelStrategy
from thunderhead.distributed.parallel import ParallelStrategy
from thunderhead.distributed.strategy import DDPStrategy, SingleDeviceStrategy, Strategy

__all__ = [
    "DDPStrategy",
    "FSDPStrategy",
    "ModelParallelStrategy",
    "ParallelStrategy",
    "SingleDeviceStrategy",
    "Strategy",
]


if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__)
