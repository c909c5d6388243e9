"""In the structure of lightning-hydra-template's documentation: everything instantiated by hydra from one config."""

import logging

import hydra
import lightning as L
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning_utilities.core.rank_zero import rank_prefixed_message, rank_zero_only
from omegaconf import OmegaConf
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification.accuracy import Accuracy


class RankedLogger(logging.LoggerAdapter):
    """Says on which rank it is said."""

    def __init__(self, name, rank_zero_only=False):
        super().__init__(logging.getLogger(name), None)
        self.rank_zero_only = rank_zero_only

    def log(self, level, msg, *args, rank=None, **kwargs):
        current = getattr(rank_zero_only, "rank", None)
        if current is None:
            raise RuntimeError("rank_zero_only.rank must be set")
        if not self.rank_zero_only or current == 0:
            self.logger.log(level, rank_prefixed_message(msg, current), *args)


log = RankedLogger(__name__, rank_zero_only=True)


class Data(LightningDataModule):
    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters(logger=False)

    def setup(self, stage=None):
        x = torch.randn(48, 4, generator=torch.Generator().manual_seed(3))
        self.data = torch.utils.data.TensorDataset(x, (x.sum(1) > 0).long())

    def loader(self):
        return torch.utils.data.DataLoader(self.data, self.hparams.batch_size)

    train_dataloader = val_dataloader = test_dataloader = loader


class Net(LightningModule):
    def __init__(self, net, optimizer, scheduler, compile=False):
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["net"])
        self.net = net
        self.criterion = torch.nn.CrossEntropyLoss()
        self.train_acc, self.val_acc, self.test_acc = (Accuracy(task="multiclass", num_classes=2) for _ in range(3))
        self.train_loss, self.val_acc_best = MeanMetric(), MaxMetric()

    def on_train_start(self):
        self.val_acc.reset()
        self.val_acc_best.reset()

    def model_step(self, batch):
        logits = self.net(batch[0])
        return self.criterion(logits, batch[1]), logits.argmax(1), batch[1]

    def training_step(self, batch, batch_idx):
        loss, preds, targets = self.model_step(batch)
        self.train_loss(loss)
        self.train_acc(preds, targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        _, preds, targets = self.model_step(batch)
        self.val_acc(preds, targets)
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True)
        self.log("val/loss", self.model_step(batch)[0], on_step=False, on_epoch=True)

    def on_validation_epoch_end(self):
        self.val_acc_best(self.val_acc.compute())
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)

    def test_step(self, batch, batch_idx):
        _, preds, targets = self.model_step(batch)
        self.test_acc(preds, targets)
        self.log("test/acc", self.test_acc, on_step=False, on_epoch=True)

    def configure_optimizers(self):
        optimizer = self.hparams.optimizer(params=self.trainer.model.parameters())
        scheduler = self.hparams.scheduler(optimizer=optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}


CONFIG = OmegaConf.create(
    {
        "seed": 12,
        "data": {"_target_": "__main__.Data", "batch_size": 8},
        "model": {
            "_target_": "__main__.Net",
            "net": {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 2},
            "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.05},
            "scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "_partial_": True, "patience": 1},
        },
        "callbacks": {
            "checkpoint": {
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                "dirpath": "checkpoints",
                "monitor": "val/acc",
                "mode": "max",
                "save_last": True,
                "filename": "epoch_{epoch:03d}",
                "auto_insert_metric_name": False,
            },
            "early": {
                "_target_": "lightning.pytorch.callbacks.EarlyStopping",
                "monitor": "val/acc",
                "patience": 100,
                "mode": "max",
            },
            "summary": {"_target_": "lightning.pytorch.callbacks.RichModelSummary", "max_depth": -1},
            "bar": {"_target_": "lightning.pytorch.callbacks.RichProgressBar"},
        },
        "logger": {
            "csv": {"_target_": "lightning.pytorch.loggers.csv_logs.CSVLogger", "save_dir": ".", "name": "csv/"}
        },
        "trainer": {
            "_target_": "lightning.pytorch.trainer.Trainer",
            "max_epochs": 3,
            "accelerator": "cpu",
            "devices": 1,
            "check_val_every_n_epoch": 1,
            "deterministic": False,
            "default_root_dir": ".",
        },
    }
)

L.seed_everything(CONFIG.seed, workers=True)
datamodule = hydra.utils.instantiate(CONFIG.data)
model = hydra.utils.instantiate(CONFIG.model)
callbacks = [hydra.utils.instantiate(each) for each in CONFIG.callbacks.values()]
logger = [hydra.utils.instantiate(each) for each in CONFIG.logger.values()]
assert all(isinstance(each, Callback) for each in callbacks)
assert all(isinstance(each, Logger) for each in logger)
trainer = hydra.utils.instantiate(CONFIG.trainer, callbacks=callbacks, logger=logger)
assert isinstance(trainer, Trainer)
log.info("Starting training!")


@rank_zero_only
def log_hyperparameters():
    found = {"cfg": OmegaConf.to_container(CONFIG), "params": sum(p.numel() for p in model.parameters())}
    for each in trainer.loggers:
        each.log_hyperparams(found)


log_hyperparameters()
trainer.fit(model=model, datamodule=datamodule)
train_metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
trainer.test(
    model=model, datamodule=datamodule, ckpt_path=trainer.checkpoint_callback.best_model_path, weights_only=False
)
log.info("Best: %s", trainer.checkpoint_callback.best_model_path)
for name, value in sorted({**train_metrics, **trainer.callback_metrics}.items()):
    print("RESULT", name, float(value))
