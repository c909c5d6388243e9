"""A datamodule as loops know it; what users derive from is ``thunderhead.user.datamodule``."""

from __future__ import annotations

from typing import Any

from thunderhead.core.hooks import CheckpointHooks, DataHooks
from thunderhead.core.hparams import HyperparametersMixin


class DataModule(DataHooks, CheckpointHooks, HyperparametersMixin):
    """Everything about data: preparing it once, building datasets per stage, and the loaders."""

    def state_dict(self) -> dict[str, Any]:
        """State to keep in checkpoints (plain data or tensors); empty by default."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""

    def on_exception(self, exception: BaseException) -> None:
        """The run ended with ``exception``."""
