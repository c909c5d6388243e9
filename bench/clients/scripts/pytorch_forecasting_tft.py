"""pytorch-forecasting, after its tutorials."""

import lightning.pytorch as pl
import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from pytorch_forecasting import Baseline, NBeats, QuantileLoss, TemporalFusionTransformer, TimeSeriesDataSet

frames = [
    pd.DataFrame(
        {
            "group": name,
            "time": np.arange(90),
            "value": np.sin(np.arange(90) / rate).astype("float32"),
            "week": np.arange(90) % 7,
        }
    )
    for name, rate in (("a", 4), ("b", 6))
]
data = pd.concat(frames, ignore_index=True)
common = {
    "time_idx": "time",
    "target": "value",
    "group_ids": ["group"],
    "max_encoder_length": 20,
    "max_prediction_length": 5,
}
for kind in ("tft", "nbeats"):
    pl.seed_everything(1)
    reals = {"time_varying_known_reals": ["week"], "add_relative_time_idx": True} if kind == "tft" else {}
    training = (
        TimeSeriesDataSet(data[data.time < 75], time_varying_unknown_reals=["value"], **common, **reals)
        if kind == "tft"
        else TimeSeriesDataSet(
            data[data.time < 75],
            time_varying_unknown_reals=["value"],
            min_encoder_length=20,
            min_prediction_length=5,
            **common,
        )
    )
    validation = TimeSeriesDataSet.from_dataset(training, data, min_prediction_idx=75)
    loaders = [
        each.to_dataloader(train=train, batch_size=16, num_workers=0)
        for each, train in ((training, True), (validation, False))
    ]
    if kind == "tft":
        model = TemporalFusionTransformer.from_dataset(
            training,
            hidden_size=8,
            attention_head_size=1,
            hidden_continuous_size=4,
            loss=QuantileLoss(),
            learning_rate=0.03,
        )
    else:
        model = NBeats.from_dataset(training, widths=[16, 16], backcast_loss_ratio=0.1, learning_rate=0.01)
    saves = ModelCheckpoint(f"saved_{kind}", monitor="val_loss")
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        gradient_clip_val=0.1,
        limit_train_batches=4,
        enable_progress_bar=False,
        callbacks=[LearningRateMonitor(), EarlyStopping("val_loss", patience=5), saves],
        logger=TensorBoardLogger("logs"),
    )
    trainer.fit(model, *loaders)
    print(
        "RESULT", kind, trainer.callback_metrics["val_loss"].item(), trainer.callback_metrics["train_loss_epoch"].item()
    )
    best = type(model).load_from_checkpoint(saves.best_model_path, weights_only=False)
    predicted = best.predict(
        loaders[1], trainer_kwargs={"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    )
    print("RESULT", kind, predicted.flatten().tolist())
print(
    "RESULT",
    "baseline",
    Baseline().predict(loaders[1], trainer_kwargs={"accelerator": "cpu", "logger": False}).flatten().tolist(),
)
