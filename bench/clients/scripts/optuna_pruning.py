"""optuna-integration, after its example for Lightning: trials that prune themselves."""

import optuna
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from optuna.integration import PyTorchLightningPruningCallback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

x = torch.linspace(-1, 1, 64)[:, None]
data = DataLoader(TensorDataset(x, 3 * x), 8)


class Line(LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.layer, self.lr = nn.Linear(1, 1), lr

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


def objective(trial):
    seed_everything(1, verbose=False)
    callback = PyTorchLightningPruningCallback(trial, monitor="val_loss")
    trainer = Trainer(
        max_epochs=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[callback],
    )
    trainer.fit(Line(trial.suggest_float("lr", 1e-3, 0.5, log=True)), data, data)
    callback.check_pruned()
    return trainer.callback_metrics["val_loss"].item()


for storage in (None, "sqlite:///trials.db"):
    study = optuna.create_study(
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=1),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
    )
    study.optimize(objective, n_trials=8)
    print("RESULT", "states", [trial.state.name for trial in study.trials])
    print("RESULT", "values", [sorted(trial.intermediate_values.items()) for trial in study.trials])
    print("RESULT", "best", study.best_params, study.best_value)
