"""Fabric: a loop of the user's own, over the strategies, number formats and loaders of the trainer."""

from thunderhead.fabric.fabric import Fabric
from thunderhead.fabric.wrappers import is_wrapped

__all__ = ["Fabric", "is_wrapped"]
