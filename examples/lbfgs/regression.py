"""Logistic regression on images of handwritten digits with L-BFGS, which evaluates the loss several times per step."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

import thunderhead as th

PIXELS = 8 * 8
VALIDATION_SHARE = 0.2
SPLIT_SEED = 0  # the same split on every rank and in every run, whatever the job's seed


class LogisticRegression(th.LightningModule):
    """One linear layer with weight decay.

    Nothing here is special to L-BFGS: the trainer passes forward and backward to ``optimizer.step`` as a closure.

    Args:
        max_iter: evaluations of the loss per step, at most.
        weight_decay: weight of the squared weights in the loss.
    """

    def __init__(self, max_iter: int = 10, weight_decay: float = 0.001) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(PIXELS, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 64) in 0..1 → logits (batch, 10)."""
        logits: Tensor = self.layer(images)
        return logits

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Cross entropy over all training images; called several times per step."""
        images, digits = batch
        loss = functional.cross_entropy(self(images), digits)
        loss = loss + self.hparams.weight_decay * self.layer.weight.square().sum()
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Accuracy over the validation set."""
        images, digits = batch
        self.log("val_acc", (self(images).argmax(dim=1) == digits).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """L-BFGS with a line search."""
        return torch.optim.LBFGS(self.parameters(), max_iter=self.hparams.max_iter, line_search_fn="strong_wolfe")


class Digits(th.LightningDataModule):
    """1,797 images of 8 × 8 pixels inside scikit-learn, each set in one batch. Nothing is downloaded."""

    def setup(self, stage: str) -> None:
        """Read and split."""
        digits = load_digits()
        images = torch.tensor(digits.data, dtype=torch.float32) / 16.0
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        self.train_set: Dataset[tuple[Tensor, ...]]
        self.val_set: Dataset[tuple[Tensor, ...]]
        self.train_set, self.val_set = random_split(
            TensorDataset(images, torch.tensor(digits.target)),
            [1.0 - VALIDATION_SHARE, VALIDATION_SHARE],
            generator=generator,
        )

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All at once: L-BFGS builds its picture of the curvature from one unchanging loss."""
        return DataLoader(self.train_set, batch_size=1797)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All at once."""
        return DataLoader(self.val_set, batch_size=1797)
