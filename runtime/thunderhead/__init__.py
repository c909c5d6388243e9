"""Thunderhead's trainer: PyTorch modules trained with recovery built in.

``import thunderhead as th`` and write ``th.LightningModule``, ``th.LightningDataModule`` and ``th.Trainer`` with the
names, hooks and arguments of Lightning 2.x.
"""

from thunderhead import callbacks, loggers
from thunderhead.callbacks import Callback
from thunderhead.core.datamodule import LightningDataModule
from thunderhead.core.module import LightningModule
from thunderhead.data.combined import CombinedLoader
from thunderhead.exceptions import MisconfigurationException
from thunderhead.rng import isolate_rng, seed_everything
from thunderhead.trainer.trainer import Trainer

__all__ = [
    "Callback",
    "CombinedLoader",
    "LightningDataModule",
    "LightningModule",
    "MisconfigurationException",
    "Trainer",
    "callbacks",
    "isolate_rng",
    "loggers",
    "seed_everything",
]
