"""What libraries ask a strategy, and the Trainer knows that it was passed to."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.optim import Optimizer

from thunderhead.core.steps import Steps
from thunderhead.tensors import move_to_device


class OwnedStrategy:
    """A strategy that has a Trainer.

    Attributes:
        owner: the Trainer that it was passed to last; None before.
    """

    owner: Any = None

    @property
    def root_device(self) -> torch.device:
        """Where the module and its batches go."""
        raise NotImplementedError

    @property
    def lightning_module(self) -> Steps | None:
        """The module of the newest run; None before there is one."""
        run = None if self.owner is None else self.owner._run
        return None if run is None else cast(Steps, run.module)

    @property
    def optimizers(self) -> list[Optimizer]:
        """Those of the newest fit."""
        return [] if self.owner is None else cast("list[Optimizer]", self.owner.optimizers)

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        self.owner.optimizers = optimizers

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """Their schedulers, and when they step."""
        return [] if self.owner is None else cast("list[Any]", self.owner.lr_scheduler_configs)

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        """The batch where the module is, through its transfer hooks where there is one; for whoever has a batch."""
        module, device = self.lightning_module, device or self.root_device
        if module is None:
            return move_to_device(batch, device)
        return module._apply_batch_transfer_handler(batch, device, dataloader_idx)
