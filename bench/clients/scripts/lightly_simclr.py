"""lightly, after its SimCLR example for Lightning."""

import declared_ops  # noqa: F401
import pytorch_lightning as pl
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.utils.benchmarking import OnlineLinearClassifier
from torch import nn

pl.seed_everything(1)


class SimCLR(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.projection_head = SimCLRProjectionHead(8, 16, 8)
        self.online_classifier = OnlineLinearClassifier(feature_dim=8, num_classes=3, topk=(1, 2))
        self.criterion = NTXentLoss()

    def training_step(self, batch, batch_idx):
        x0, x1, target = batch
        features = self.backbone(x0)
        loss = self.criterion(self.projection_head(features), self.projection_head(self.backbone(x1)))
        self.log("train_loss", loss, prog_bar=True)
        online, logged = self.online_classifier.training_step((features.detach(), target), batch_idx)
        self.log_dict(logged, sync_dist=True, batch_size=len(target))
        return loss + online

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.06)


images, targets = torch.randn(32, 3, 16, 16), torch.arange(32) % 3
data = torch.utils.data.TensorDataset(images, images + 0.1 * torch.randn_like(images), targets)
trainer = pl.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, logger=False)
module = SimCLR()
trainer.fit(module, torch.utils.data.DataLoader(data, 8, shuffle=True))
for name, value in sorted(trainer.callback_metrics.items()):
    print("RESULT", name, value.item())
