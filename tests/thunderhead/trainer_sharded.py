"""A small module that shards itself as it is told, for tests of strategies that spread modules over ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from trainer_models import QUIET, in_order, regression, shuffled

import thunderhead as th


class Sharded(th.LightningModule):
    """Two layers behind dropout, which ranks that share a layer must draw alike.

    Args:
        how: ``nothing``, ``layers`` (FSDP2 of each), ``whole`` (FSDP2 of the module itself), ``tensor`` (tensor
            parallel), ``both``.
        dropout: probability.
        hidden: units in the middle, which four ranks need not divide.
    """

    def __init__(self, how: str = "layers", dropout: float = 0.0, hidden: int = 8) -> None:
        super().__init__()
        self.how = how
        torch.manual_seed(5)
        self.net = nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.dropout = nn.Dropout(dropout)
        self.losses: list[float] = []

    def configure_model(self) -> None:
        """Shard once."""
        from torch.distributed.fsdp import FSDPModule, fully_shard

        mesh = self.device_mesh
        if self.how == "nothing" or mesh is None or isinstance(self, FSDPModule) or isinstance(self.net, FSDPModule):
            return
        if self.how in ("tensor", "both"):
            _parallelize(self.net, mesh["tensor_parallel"])
        if self.how in ("layers", "both"):
            for layer in (self.net[0], self.net[2], self.net):
                fully_shard(layer, mesh=mesh["data_parallel"])
        if self.how == "whole":
            fully_shard(self, mesh=mesh["data_parallel"])

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, 4) → (batch, 1)."""
        out: Tensor = self.net(self.dropout(inputs))
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean squared error."""
        inputs, target = batch
        loss = functional.mse_loss(self(inputs), target)
        self.losses.append(loss.item())
        self.log("loss", loss, sync_dist=True, on_step=False, on_epoch=True)
        self.log("samples", float(len(inputs)), sync_dist=True, on_step=False, on_epoch=True, reduce_fx="sum")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Mean squared error."""
        inputs, target = batch
        self.log("val_loss", functional.mse_loss(self(inputs), target), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=0.05)


def _parallelize(net: nn.Module, mesh: Any) -> None:
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    parallelize_module(net, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


def gathered(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, whole; a collective."""
    found = {}
    for name, tensor in module.state_dict().items():
        full = getattr(tensor, "full_tensor", None)
        found[name.replace("_orig_mod.", "")] = (tensor if full is None else full()).detach().clone()
    return found


@dataclass
class Fitted:
    """What a fit left.

    Attributes:
        losses: of this rank.
        weights: whole, as lists.
        metrics: that were logged.
    """

    losses: list[float]
    weights: dict[str, Any]
    metrics: dict[str, float]


def fit(module: Sharded, strategy: Any, **options: Any) -> Fitted:
    """A short fit from one seed."""
    th.seed_everything(3, verbose=False)
    trainer = th.Trainer(**{**QUIET, "max_epochs": 2, **options}, strategy=strategy)
    trainer.fit(module, shuffled(regression(40), batch_size=4), in_order(regression(22, seed=8), batch_size=4))
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return Fitted(module.losses, {name: value.tolist() for name, value in gathered(module).items()}, metrics)


def differences(one: Fitted, other: Fitted) -> list[str]:
    """What of them is more apart than sums in another order, over a few steps in 32 bits."""
    found = []
    for what in ("losses", "weights", "metrics"):
        try:
            torch.testing.assert_close(
                _tensors(getattr(one, what)), _tensors(getattr(other, what)), rtol=2e-5, atol=2e-6
            )
        except AssertionError as error:
            found.append(f"{what}: {error}")
    return found


def _tensors(value: Any) -> Any:
    return {name: torch.tensor(of) for name, of in value.items()} if isinstance(value, dict) else torch.tensor(value)
