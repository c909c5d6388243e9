"""A generative adversarial network on images of handwritten digits: two optimizers, stepped by hand."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import thunderhead as th

PIXELS = 8 * 8


class GAN(th.LightningModule):
    """A generator that invents digits, and a discriminator that tells them from real ones.

    Args:
        noise: random numbers an image is made of.
        hidden: width of the hidden layers.
        lr: learning rate of both.
    """

    def __init__(self, noise: int = 16, hidden: int = 128, lr: float = 0.0005) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(
            nn.Linear(noise, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, PIXELS), nn.Sigmoid()
        )
        self.discriminator = nn.Sequential(nn.Linear(PIXELS, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, noise: Tensor) -> Tensor:
        """Noise (batch, noise) → images (batch, 64) in 0..1."""
        images: Tensor = self.generator(noise)
        return images

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """One step of the generator, then one of the discriminator."""
        (real,) = batch
        generate, discriminate = self.optimizers()
        noise = torch.randn(len(real), self.hparams.noise, device=self.device)

        with self.toggled_optimizer(generate):
            fooled = self._loss(self(noise), real=True)
            generate.zero_grad()
            self.manual_backward(fooled)
            generate.step()

        with self.toggled_optimizer(discriminate):
            told = (self._loss(real, real=True) + self._loss(self(noise).detach(), real=False)) / 2
            discriminate.zero_grad()
            self.manual_backward(told)
            discriminate.step()

        self.log_dict({"generator_loss": fooled, "discriminator_loss": told}, prog_bar=True)

    def _loss(self, images: Tensor, *, real: bool) -> Tensor:
        """Cross entropy of the discriminator's answer, were the images real (or not)."""
        logits = self.discriminator(images)
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One for each; only its own parameters."""
        options = {"lr": self.hparams.lr, "betas": (0.5, 0.999)}
        return [
            torch.optim.Adam(self.generator.parameters(), **options),
            torch.optim.Adam(self.discriminator.parameters(), **options),
        ]


class Digits(th.LightningDataModule):
    """1,797 images of 8 × 8 pixels inside scikit-learn. Nothing is downloaded.

    Args:
        batch_size: images per process and step.
    """

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Read; every process does, it takes milliseconds."""
        self.images = TensorDataset(torch.tensor(load_digits().data, dtype=torch.float32) / 16.0)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled, without a last batch too small for batch normalisation."""
        return DataLoader(self.images, batch_size=self.batch_size, shuffle=True, drop_last=True)
