"""Loggers for Fabric: the trainer's, whose directory is called ``root_dir``.

Classes are named by whose they are, since a command line finds a class by its name alone.
"""

from __future__ import annotations

import os

from thunderhead.loggers.csv_logger import CSVLogger as TrainersCSVLogger
from thunderhead.loggers.tensorboard import TensorBoardLogger as TrainersTensorBoardLogger


class FabricCSVLogger(TrainersCSVLogger):
    """Writes ``metrics.csv`` under ``<root_dir>/<name>/version_<n>``.

    Args:
        root_dir: directory or URL of all experiments.
        name: name of this one; may be empty.
        version: a number or name; by default the next free number.
        prefix: put before every metric's name, with a dash.
        flush_logs_every_n_steps: records held back until they are written.
    """

    def __init__(
        self,
        root_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(root_dir, name, version, prefix, flush_logs_every_n_steps)


class FabricTensorBoardLogger(TrainersTensorBoardLogger):
    """Writes event files under ``<root_dir>/<name>/version_<n>``.

    Args:
        root_dir: directory of all experiments.
        name: name of this one; may be empty.
        version: a number, or the name of the directory; by default the next free number.
        default_hp_metric: write hyperparameters that come without a metric beside ``hp_metric`` = -1.
        prefix: put before every metric's name, with a dash.
        sub_dir: directory below the version's.
        **kwargs: passed to ``torch.utils.tensorboard.SummaryWriter``.
    """

    def __init__(
        self,
        root_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | os.PathLike[str] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(root_dir, name, version, False, default_hp_metric, prefix, sub_dir, **kwargs)


CSVLogger = FabricCSVLogger
TensorBoardLogger = FabricTensorBoardLogger
