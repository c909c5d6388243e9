"""Thunderhead's trainer: PyTorch modules trained with recovery built in.

``import thunderhead as th`` and write ``th.LightningModule``, ``th.LightningDataModule`` and ``th.Trainer`` with the
names, hooks and arguments of Lightning 2.x.

Names are imported when they are first used: the agent and the command line work with ``thunderhead.job`` and
``thunderhead.store``, which need no torch, and must not pay seconds and hundreds of megabytes for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thunderhead_api.extras import needed

if TYPE_CHECKING:
    from thunderhead import callbacks, cli, loggers, profilers, strategies, tuner
    from thunderhead.callbacks import Callback
    from thunderhead.data.combined import CombinedLoader
    from thunderhead.exceptions import MisconfigurationException
    from thunderhead.fabric import Fabric
    from thunderhead.rng import isolate_rng, seed_everything
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.datamodule import LightningDataModule
    from thunderhead.user.module import LightningModule

__all__ = [
    "Callback",
    "CombinedLoader",
    "Fabric",
    "LightningDataModule",
    "LightningModule",
    "MisconfigurationException",
    "Trainer",
    "callbacks",
    "cli",
    "isolate_rng",
    "loggers",
    "profilers",
    "seed_everything",
    "strategies",
    "tuner",
]

_HOMES = {
    "Callback": "callbacks",
    "CombinedLoader": "data.combined",
    "Fabric": "fabric.fabric",
    "LightningDataModule": "user.datamodule",
    "LightningModule": "user.module",
    "MisconfigurationException": "exceptions",
    "Trainer": "trainer.trainer",
    "isolate_rng": "rng",
    "seed_everything": "rng",
}
_PACKAGES = ("callbacks", "cli", "loggers", "profilers", "strategies", "tuner")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # only for those who ask: it costs more than all of this file

        return version("thunderhead")
    if name not in _HOMES and name not in _PACKAGES:
        from thunderhead.compat.unknown import unknown_name

        raise unknown_name(__name__, name, __all__)
    try:
        home = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    except ModuleNotFoundError as error:
        if (sentence := needed(f"{__name__}.{name}", error)) is None:
            raise
        raise ModuleNotFoundError(sentence, name=error.name) from error
    if name not in _PACKAGES:
        globals()[name] = getattr(home, name)
    return home if name in _PACKAGES else globals()[name]


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
