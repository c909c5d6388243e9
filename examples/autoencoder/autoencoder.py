"""An autoencoder that presses images of handwritten digits into two numbers, and back."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split

import thunderhead as th

PIXELS = 8 * 8
VALIDATION_SHARE = 0.2
SPLIT_SEED = 0  # the same split on every rank and in every run, whatever the job's seed


class Autoencoder(th.LightningModule):
    """An encoder and a decoder of two layers each.

    Args:
        hidden: width between pixels and code.
        code: numbers an image is pressed into.
        lr: learning rate of Adam.
    """

    def __init__(self, hidden: int = 64, code: int = 2, lr: float = 0.003) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, code))
        self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, PIXELS), nn.Sigmoid())
        self.example_input_array = torch.zeros(1, PIXELS)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 64) in 0..1 → their codes (batch, code)."""
        codes: Tensor = self.encoder(images)
        return codes

    def _loss(self, images: Tensor) -> Tensor:
        return functional.mse_loss(self.decoder(self.encoder(images)), images)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Mean squared error of one batch."""
        loss = self._loss(batch[0])
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Mean squared error over the validation set."""
        self.log("val_loss", self._loss(batch[0]), sync_dist=True, prog_bar=True)

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The codes of one batch."""
        return self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over everything."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class Digits(th.LightningDataModule):
    """1,797 images of 8 × 8 pixels inside scikit-learn, without their labels. Nothing is downloaded.

    Args:
        batch_size: images per process and step.
    """

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Read and split; every process does, it takes milliseconds."""
        images = torch.tensor(load_digits().data, dtype=torch.float32) / 16.0
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        self.images = TensorDataset(images)
        self.train_set, self.val_set = random_split(
            self.images, [1.0 - VALIDATION_SHARE, VALIDATION_SHARE], generator=generator
        )

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled; the trainer gives each rank its share."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """In order."""
        return DataLoader(self.val_set, batch_size=128)

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All images, in order."""
        return DataLoader(self.images, batch_size=256)
