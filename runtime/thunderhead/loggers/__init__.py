"""Where metrics go."""

from thunderhead.loggers.csv_logger import CSVLogger
from thunderhead.loggers.logger import Logger
from thunderhead.loggers.tensorboard import TensorBoardLogger

__all__ = ["CSVLogger", "Logger", "TensorBoardLogger"]
