"""In the structure of Lightning's own examples that need no download: autoencoder, GAN, demos."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, callbacks, seed_everything
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel, ManualOptimBoringModel
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


class Images(LightningDataModule):
    def __init__(self, batch_size=16):
        super().__init__()
        images = torch.rand(96, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        data = TensorDataset(images, torch.arange(96) % 10)
        self.train_set, self.val_set, self.test_set = random_split(data, [64, 16, 16], torch.Generator().manual_seed(2))
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test_set, batch_size=self.batch_size)

    def predict_dataloader(self):
        return DataLoader(self.test_set, batch_size=self.batch_size)


class AutoEncoder(LightningModule):
    def __init__(self, hidden_dim=16, learning_rate=1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(64, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 3))
        self.decoder = nn.Sequential(nn.Linear(3, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 64))

    def forward(self, x):
        return self.decoder(self.encoder(x.flatten(1)))

    def _common(self, batch, stage):
        loss = F.mse_loss(self(batch[0]), batch[0].flatten(1))
        self.log(f"{stage}_loss", loss, on_step=True)
        return loss

    def training_step(self, batch, batch_idx):
        return self._common(batch, "train")

    def validation_step(self, batch, batch_idx):
        self._common(batch, "val")

    def test_step(self, batch, batch_idx):
        self._common(batch, "test")

    def predict_step(self, batch, batch_idx, dataloader_idx=None):
        return self(batch[0])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)


class GAN(LightningModule):
    def __init__(self, latent_dim=8):
        super().__init__()
        self.automatic_optimization = False
        self.latent_dim = latent_dim
        self.generator = nn.Sequential(nn.Linear(latent_dim, 32), nn.ReLU(), nn.Linear(32, 64), nn.Tanh())
        self.discriminator = nn.Sequential(nn.Linear(64, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        self.example_input_array = torch.zeros(2, latent_dim)

    def forward(self, z):
        return self.generator(z)

    def training_step(self, batch):
        images = batch[0].flatten(1)
        first, second = self.optimizers()
        z, real, fake = (
            torch.randn(len(images), self.latent_dim),
            torch.ones(len(images), 1),
            torch.zeros(len(images), 1),
        )
        self.toggle_optimizer(first)
        g_loss = F.binary_cross_entropy_with_logits(self.discriminator(self(z)), real)
        first.zero_grad()
        self.manual_backward(g_loss)
        first.step()
        self.untoggle_optimizer(first)
        self.toggle_optimizer(second)
        d_loss = F.binary_cross_entropy_with_logits(self.discriminator(images), real)
        d_loss = (d_loss + F.binary_cross_entropy_with_logits(self.discriminator(self(z).detach()), fake)) / 2
        second.zero_grad()
        self.manual_backward(d_loss)
        second.step()
        self.untoggle_optimizer(second)
        self.log_dict({"g_loss": g_loss, "d_loss": d_loss}, prog_bar=True)

    def configure_optimizers(self):
        return [
            torch.optim.Adam(m.parameters(), 2e-3, betas=(0.5, 0.999)) for m in (self.generator, self.discriminator)
        ]


seed_everything(42)
trainer = Trainer(**QUIET, max_epochs=3, default_root_dir="auto", callbacks=[callbacks.LearningRateMonitor()])
trainer.fit(AutoEncoder(), datamodule=Images())
print("RESULT", "fit", sorted((name, value.item()) for name, value in trainer.callback_metrics.items()))
print("RESULT", "test", trainer.test(ckpt_path="best", datamodule=Images()))
print("RESULT", "predict", torch.cat(trainer.predict(ckpt_path="best", datamodule=Images()))[0, :4].tolist())

seed_everything(42)
trainer = Trainer(**QUIET, max_epochs=2, logger=False)
trainer.fit(GAN(), datamodule=Images())
print(
    "RESULT",
    "gan",
    sorted((name, value.item()) for name, value in trainer.callback_metrics.items()),
    trainer.global_step,
)

for kind in (BoringModel, ManualOptimBoringModel):
    seed_everything(42)
    model = kind()
    trainer = Trainer(**QUIET, max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(model, datamodule=BoringDataModule())
    print("RESULT", kind.__name__, model.layer.weight.sum().item(), trainer.global_step)
