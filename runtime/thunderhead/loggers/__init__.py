"""Where metrics go."""

from typing import TYPE_CHECKING

from thunderhead.compat.unknown import refusing
from thunderhead.loggers.csv_logger import CSVLogger
from thunderhead.loggers.logger import Logger
from thunderhead.loggers.mlflow import MLFlowLogger
from thunderhead.loggers.tensorboard import TensorBoardLogger
from thunderhead.loggers.wandb import WandbLogger

__all__ = ["CSVLogger", "Logger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger"]

if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__)
