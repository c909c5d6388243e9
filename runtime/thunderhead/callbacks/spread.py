"""Callbacks that copy the module or look at all of a parameter, which nobody has where ranks hold it together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thunderhead.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def refuse_spread(callback: object, trainer: Trainer) -> None:
    """Say so before training begins.

    Raises:
        MisconfigurationException: the strategy spreads the module over ranks.
    """
    if trainer.strategy.spreads:
        raise MisconfigurationException(
            f"{type(callback).__name__} needs whole parameters, and strategy={trainer.strategy.name!r} spreads them "
            "over ranks; use strategy='ddp', or drop the callback"
        )
