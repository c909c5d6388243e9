"""neuralforecast, after its quickstart."""

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.models import LSTM, MLP, NHITS

dates = pd.date_range("2020-01-01", periods=120, freq="D")
frames = [
    pd.DataFrame({"unique_id": name, "ds": dates, "y": np.sin(np.arange(120) / rate) + shift})
    for name, rate, shift in (("a", 5, 0.0), ("b", 9, 1.0))
]
data = pd.concat(frames)
options = {
    "input_size": 14,
    "h": 7,
    "max_steps": 12,
    "random_seed": 1,
    "accelerator": "cpu",
    "enable_progress_bar": False,
}
models = [NHITS(**options, val_check_steps=4, early_stop_patience_steps=2), MLP(**options), LSTM(**options)]
forecasts = NeuralForecast(models=models, freq="D")
forecasts.fit(data, val_size=14)
for name, column in forecasts.predict().drop(columns=["ds", "unique_id"], errors="ignore").items():
    print("RESULT", name, column.tolist()[:5])
forecasts.save("nf", overwrite=True, save_dataset=True)
again = NeuralForecast.load("nf").predict()
print("RESULT", "loaded", again["NHITS"].tolist()[:5])
