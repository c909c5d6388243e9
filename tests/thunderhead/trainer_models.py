"""Small modules and data for the trainer's tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

import thunderhead as th

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def regression(samples: int = 40, seed: int = 7) -> TensorDataset:
    """Inputs of four numbers and their sum."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 4, generator=generator)
    return TensorDataset(inputs, inputs.sum(dim=1, keepdim=True))


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """A dataset that draws random numbers for every sample, as augmentation does."""

    def __init__(self, samples: int = 40) -> None:
        self.data = regression(samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, target = self.data[index]
        return inputs + 0.1 * torch.randn(4), target

    def __len__(self) -> int:
        return len(self.data)


class Net(th.LightningModule):
    """A network whose result depends on all that a resume must restore: dropout, running statistics, momentum."""

    def __init__(self, lr: float = 0.05, scheduler: str = "step", normalise: bool = True) -> None:
        super().__init__()
        self.lr = lr
        self.scheduler = scheduler
        layers = [nn.Linear(4, 8), nn.BatchNorm1d(8) if normalise else nn.Identity(), nn.Dropout(0.3), nn.Linear(8, 1)]
        self.net = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, 4) → (batch, 1)."""
        out: Tensor = self.net(inputs)
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean squared error."""
        inputs, target = _one(batch)
        loss = functional.mse_loss(self(inputs), target)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Mean squared error, with a draw so that validation moves the random state."""
        inputs, target = batch
        self.log("val_loss", functional.mse_loss(self(inputs), target) + 0.0 * torch.rand(()))

    def configure_optimizers(self) -> Any:
        """AdamW, with a scheduler of the wanted kind."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        if self.scheduler == "none":
            return optimizer
        if self.scheduler == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "train_loss"}}
        stepped = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": stepped, "interval": self.scheduler}}


def _one(batch: Any) -> Any:
    """Inputs and target of a batch, or of the parts of a combined one together; unbatched samples get a dimension."""
    parts = list(batch.values()) if isinstance(batch, dict) else batch
    if not isinstance(parts[0], Tensor):
        parts = [torch.cat([part[i] for part in parts]) for i in range(2)]
    return parts if parts[0].ndim == 2 else [part.unsqueeze(0) for part in parts]


def shuffled(dataset: Any = None, batch_size: int = 8, **options: Any) -> DataLoader[Any]:
    """A shuffling loader of five batches."""
    return DataLoader(regression() if dataset is None else dataset, batch_size=batch_size, shuffle=True, **options)


def in_order(dataset: Any = None, batch_size: int = 16) -> DataLoader[Any]:
    """A loader for validation."""
    return DataLoader(regression(24, seed=8) if dataset is None else dataset, batch_size=batch_size)


def bits(module: nn.Module) -> dict[str, bytes]:
    """Every parameter and buffer as its bytes."""
    return {name: value.detach().cpu().contiguous().numpy().tobytes() for name, value in module.state_dict().items()}
