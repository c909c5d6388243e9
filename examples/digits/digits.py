"""A small convolutional network on scikit-learn's handwritten digits: 1,797 images of 8 × 8 pixels, ten classes."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

import thunderhead as th

VALIDATION_SHARE = 0.2
SPLIT_SEED = 0  # the same split on every rank and in every run, whatever the job's seed


class Classifier(th.LightningModule):
    """Two convolutions and two linear layers.

    Args:
        hidden: width of the hidden linear layer; the convolutions have a quarter and a half of it as channels.
        lr: learning rate of AdamW.
    """

    def __init__(self, hidden: int = 64, lr: float = 0.003) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Conv2d(1, hidden // 4, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden // 4, hidden // 2, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(hidden // 2 * 4 * 4, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, 8, 8) in 0..1 → logits (batch, 10)."""
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy of one batch."""
        images, digits = batch
        loss = functional.cross_entropy(self(images), digits)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy over the whole validation set: averaged over batches and ranks."""
        images, digits = batch
        logits = self(images)
        self.log("val_loss", functional.cross_entropy(logits, digits), sync_dist=True)
        self.log("val_acc", (logits.argmax(dim=1) == digits).float().mean(), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over everything."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class Digits(th.LightningDataModule):
    """The digits, four fifths to train on. They ship inside scikit-learn: nothing is downloaded.

    Args:
        batch_size: images per process and step.
    """

    def __init__(self, batch_size: int = 16) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Read and split; every process does, it takes milliseconds."""
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
        everything = TensorDataset(images, torch.tensor(digits.target))
        self.train_set: Dataset[tuple[Tensor, ...]]
        self.val_set: Dataset[tuple[Tensor, ...]]
        self.train_set, self.val_set = random_split(
            everything,
            [1.0 - VALIDATION_SHARE, VALIDATION_SHARE],
            generator=torch.Generator().manual_seed(SPLIT_SEED),
        )

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled; the trainer gives each rank its share."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """In order."""
        return DataLoader(self.val_set, batch_size=90)
