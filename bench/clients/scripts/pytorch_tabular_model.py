"""pytorch-tabular, after its README."""

import numpy as np
import pandas as pd
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import CategoryEmbeddingModelConfig

rng = np.random.default_rng(1)
frame = pd.DataFrame(rng.normal(size=(240, 4)), columns=list("abcd"))
frame["kind"] = rng.integers(0, 3, 240).astype(str)
frame["target"] = (frame.a + frame.b > 0).astype(int)
train, test = frame[:200], frame[200:]
model = TabularModel(
    data_config=DataConfig(target=["target"], continuous_cols=list("abcd"), categorical_cols=["kind"]),
    model_config=CategoryEmbeddingModelConfig(task="classification", layers="16-8", learning_rate=1e-2),
    optimizer_config=OptimizerConfig(),
    trainer_config=TrainerConfig(
        batch_size=32, max_epochs=3, accelerator="cpu", seed=1, progress_bar="simple", load_best=True
    ),
    verbose=False,
)
model.fit(train=train, seed=1)
print("RESULT", "evaluate", sorted(model.evaluate(test, verbose=False)[0].items()))
print("RESULT", "predict", model.predict(test).iloc[:5].to_numpy().tolist())
model.save_model("saved")
print("RESULT", "loaded", TabularModel.load_model("saved").predict(test).iloc[:5].to_numpy().tolist())
