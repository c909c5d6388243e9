"""Where metrics go."""

from typing import TYPE_CHECKING

from thunderhead.compat.unknown import on_demand
from thunderhead.loggers.csv_logger import CSVLogger
from thunderhead.loggers.logger import Logger
from thunderhead.loggers.tensorboard import TensorBoardLogger

__all__ = ["CSVLogger", "Logger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger"]

if TYPE_CHECKING:
    from thunderhead.loggers.mlflow import MLFlowLogger
    from thunderhead.loggers.wandb import WandbLogger
else:
    __getattr__ = on_demand(__name__, {"MLFlowLogger": "mlflow", "WandbLogger": "wandb"}, __all__)
