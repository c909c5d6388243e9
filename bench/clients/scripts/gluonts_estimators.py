"""gluonts, after its quick start with torch."""

from pathlib import Path

import numpy as np
import pandas as pd
from gluonts.dataset.pandas import PandasDataset
from gluonts.model.predictor import Predictor
from gluonts.torch import DeepAREstimator, SimpleFeedForwardEstimator
from lightning.pytorch import seed_everything

frame = pd.DataFrame(
    {"target": np.sin(np.arange(300) / 7).astype("float32")}, index=pd.period_range("2020", periods=300, freq="D")
)
data = PandasDataset(frame, target="target")
options = {"accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False, "logger": False}
for kind, extra in (
    (SimpleFeedForwardEstimator, {}),
    (DeepAREstimator, {"freq": "D", "num_layers": 1, "hidden_size": 8}),
):
    seed_everything(1)
    estimator = kind(prediction_length=5, num_batches_per_epoch=8, trainer_kwargs=options, **extra)
    predictor = estimator.train(data)
    seed_everything(2)
    print("RESULT", kind.__name__, next(iter(predictor.predict(data))).mean.tolist())
    Path(kind.__name__).mkdir()
    predictor.serialize(Path(kind.__name__))
    seed_everything(2)
    again = Predictor.deserialize(Path(kind.__name__))
    print("RESULT", "again", next(iter(again.predict(data))).mean.tolist())
