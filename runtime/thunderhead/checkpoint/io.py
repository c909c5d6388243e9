"""The path by which users know ``CheckpointIO`` and its kinds; they are in ``thunderhead.files.io``."""

from thunderhead.files.io import AsyncCheckpointIO, CheckpointIO, TorchCheckpointIO

__all__ = ["AsyncCheckpointIO", "CheckpointIO", "TorchCheckpointIO"]
