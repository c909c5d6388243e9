"""Where metrics go."""

from typing import TYPE_CHECKING

from thunderhead.compat.unknown import refusing
from thunderhead.loggers.csv_logger import CSVLogger
from thunderhead.loggers.logger import Logger
from thunderhead.loggers.tensorboard import TensorBoardLogger

__all__ = ["CSVLogger", "Logger", "TensorBoardLogger"]

if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__)
