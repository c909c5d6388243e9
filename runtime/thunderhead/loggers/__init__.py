"""Where metrics go."""

from thunderhead.loggers.csv_logger import CSVLogger
from thunderhead.loggers.logger import Logger

__all__ = ["CSVLogger", "Logger"]
