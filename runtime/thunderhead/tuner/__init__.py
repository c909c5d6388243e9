"""Searches before a run: for a learning rate, and for a batch size that fits into memory."""

from typing import TYPE_CHECKING

from thunderhead.compat.unknown import refusing
from thunderhead.tuner.tuning import Tuner

__all__ = ["Tuner"]

if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__)
