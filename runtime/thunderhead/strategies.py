"""How a module is spread over processes; pass one as ``Trainer(strategy=...)`` to set what its name does not."""

from typing import TYPE_CHECKING

from thunderhead.compat.unknown import refusing
from thunderhead.distributed.strategy import DDPStrategy, SingleDeviceStrategy, Strategy

__all__ = ["DDPStrategy", "SingleDeviceStrategy", "Strategy"]

if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__)
