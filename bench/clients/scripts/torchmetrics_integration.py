"""torchmetrics, after its page on Lightning: objects logged, collections, resets, several loaders."""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy, MeanMetric, MetricCollection, MetricTracker, Precision, Recall, SumMetric

seed_everything(1)
COMMON = {"task": "multiclass", "num_classes": 3}


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.train_acc = Accuracy(**COMMON)
        self.sum = SumMetric()
        both = {"precision": Precision(**COMMON, average="macro"), "recall": Recall(**COMMON, average="macro")}
        self.val = MetricCollection(both, prefix="val_")
        self.val_acc = nn.ModuleList([Accuracy(**COMMON), Accuracy(**COMMON)])
        self.tracker = MetricTracker(MeanMetric(), maximize=False)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self.layer(x)
        loss = nn.functional.cross_entropy(logits, y)
        self.train_acc(logits, y)
        self.sum(x.sum())
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        self.log("sum", self.sum, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        x, y = batch
        logits = self.layer(x)
        self.val.update(logits, y)
        self.val_acc[dataloader_idx].update(logits, y)
        self.log("val_acc", self.val_acc[dataloader_idx])

    def on_validation_epoch_start(self):
        self.tracker.increment()

    def on_validation_epoch_end(self):
        found = self.val.compute()
        self.tracker.update(found["val_recall"])
        self.log_dict(found)
        self.val.reset()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


x = torch.randn(48, 4)
data = TensorDataset(x, x.argmax(1) % 3)
saves = ModelCheckpoint("saved", monitor="val_recall", mode="max")
trainer = Trainer(max_epochs=3, accelerator="cpu", enable_progress_bar=False, logger=False, callbacks=[saves])
module = Classifier()
trainer.fit(module, DataLoader(data, 8), [DataLoader(data, 12), DataLoader(data, 16)])
for name, value in sorted(trainer.callback_metrics.items()):
    print("RESULT", name, value.item())
print("RESULT", "tracker", module.tracker.compute_all().tolist(), module.sum.compute().item())
print("RESULT", "best", saves.best_model_score.item())
