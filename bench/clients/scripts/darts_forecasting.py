"""darts, after its user guide on torch forecasting models."""

import numpy as np
from darts import TimeSeries
from darts.models import NBEATSModel, TCNModel
from pytorch_lightning import seed_everything

seed_everything(1)
time = np.arange(200, dtype=np.float32)
series = TimeSeries.from_values((np.sin(time / 8) + 0.1 * np.cos(time)).astype(np.float32))
train, val = series[:160], series[160:]
kwargs = {"accelerator": "cpu", "enable_progress_bar": False}
for kind, options in ((TCNModel, {}), (NBEATSModel, {"num_stacks": 2, "layer_widths": 16})):
    model = kind(
        24,
        8,
        n_epochs=3,
        random_state=0,
        pl_trainer_kwargs=kwargs,
        work_dir="darts",
        model_name=kind.__name__,
        save_checkpoints=True,
        force_reset=True,
        **options,
    )
    model.fit(train, val_series=val, verbose=False)
    print("RESULT", kind.__name__, model.predict(4, series=train).values().ravel().tolist())
    best = kind.load_from_checkpoint(kind.__name__, work_dir="darts", best=True)
    print("RESULT", "best", best.predict(4, series=train).values().ravel().tolist())
    model.save("saved.pt")
    print("RESULT", "saved", kind.load("saved.pt").predict(2, series=train).values().ravel().tolist())
