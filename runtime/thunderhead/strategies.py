"""How a module is spread over processes; pass one as ``Trainer(strategy=...)`` to set what its name does not."""

from thunderhead.distributed.strategy import DDPStrategy, SingleDeviceStrategy, Strategy

__all__ = ["DDPStrategy", "SingleDeviceStrategy", "Strategy"]
