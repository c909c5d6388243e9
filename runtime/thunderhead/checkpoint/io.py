"""The path by which users know ``CheckpointIO`` and its kinds; they are in ``thunderhead.files.checkpoint_io``."""

from thunderhead.files.checkpoint_io import AsyncCheckpointIO, CheckpointIO, TorchCheckpointIO

__all__ = ["AsyncCheckpointIO", "CheckpointIO", "TorchCheckpointIO"]
