"""The clients: from those that only train to those that stand on Lightning's inside."""

from __future__ import annotations

from typing import Final

from bench.clients.client import Client

_DOCUMENTED: Final = "its documented use, on made-up data"

CLIENTS: Final = (
    Client(
        name="darts",
        package="darts",
        requirements=("darts",),
        what=f"{_DOCUMENTED}: TCN and N-BEATS with callbacks, saving, loading",
        script="darts_forecasting.py",
    ),
    Client(
        name="neuralforecast",
        package="neuralforecast",
        requirements=("neuralforecast",),
        what=f"{_DOCUMENTED}: NHITS, MLP and LSTM, cross-validation, save and load",
        script="neuralforecast_models.py",
        tests=(
            "tests/test_sample_weight.py",
            "tests/test_core_serialization.py",
        ),
        note="tests failing on both sides read data that its distribution lacks, or say what pandas has dropped",
    ),
    Client(
        name="lightly",
        package="lightly",
        requirements=("lightly",),
        what=f"{_DOCUMENTED}: SimCLR and a benchmark callback",
        script="lightly_simclr.py",
        note="torchvision's own operators, which its wheel has for CUDA only, are declared and not used",
    ),
    Client(
        name="gluonts",
        package="gluonts",
        requirements=("gluonts[torch]",),
        what=f"{_DOCUMENTED}: DeepAR and a feed-forward estimator, predictor serialised",
        script="gluonts_estimators.py",
        tests=(
            "test/torch/model/test_estimators.py",
            "test/torch/model/test_torch_incremental_training.py",
            "test/torch/model/test_torch_predictor.py",
        ),
    ),
    Client(
        name="torchmetrics",
        package="torchmetrics",
        requirements=("torchmetrics",),
        what="its documented use in modules: metric objects, collections, trackers, resets",
        script="torchmetrics_integration.py",
    ),
    Client(
        name="chemprop",
        package="chemprop",
        requirements=("chemprop",),
        what="its command line: train, predict, fingerprint, on made-up molecules",
        script="chemprop_cli.py",
    ),
    Client(
        name="optuna-integration",
        package="optuna-integration",
        requirements=("optuna", "optuna-integration"),
        what="its documented use: the pruning callback, in memory and in a database",
        script="optuna_pruning.py",
    ),
    Client(
        name="lightning-hydra-template",
        package="hydra-core",
        requirements=("hydra-core", "omegaconf", "rich"),
        what="an imitation of its documented structure (it is no package): hydra, rank-aware logging, callbacks, test",
        script="hydra_template.py",
    ),
    Client(
        name="pytorch-forecasting",
        package="pytorch-forecasting",
        requirements=("pytorch-forecasting", "tensorboard"),
        what=f"{_DOCUMENTED}: temporal fusion transformer, N-BEATS, load and predict",
        script="pytorch_forecasting_tft.py",
        tests=(
            "pytorch_forecasting/tests/test_all_v2/test_all_estimators_v2.py",
            "-k",
            "checkpointing",
        ),
        note="most of its other tests download data",
    ),
    Client(
        name="pytorch-tabular",
        package="pytorch_tabular",
        requirements=("pytorch_tabular", "requests"),
        what=f"{_DOCUMENTED}: category embedding model, evaluate, predict, save and load",
        script="pytorch_tabular_model.py",
    ),
    Client(
        name="scvi-tools",
        package="scvi-tools",
        requirements=("scvi-tools",),
        what=f"{_DOCUMENTED}: SCVI with early stopping and its own SaveCheckpoint",
        script="scvi_model.py",
        tests=(
            "tests/train/test_callbacks.py",
            "--optional",
            "-k",
            "savecheckpoint",
        ),
    ),
    Client(
        name="pina",
        package="pina-mathlab",
        requirements=("pina-mathlab",),
        what=f"{_DOCUMENTED}: a Poisson problem by PINN, its own callbacks",
        script="pina_poisson.py",
        tests=("tests/test_trainer.py",),
    ),
    Client(
        name="rl4co",
        package="rl4co",
        requirements=("rl4co",),
        what=f"{_DOCUMENTED}: attention model on small tours, REINFORCE with a rollout baseline",
        script="rl4co_tsp.py",
        note="one epoch: for each further one its Trainer reloads the training data, which Lightning then iterates "
        "twice and we once, so that samples come in another order, the likely reason why rewards of two epochs differ "
        "by 0.03",
    ),
    Client(
        name="ray.train.lightning",
        package="ray",
        requirements=("ray[train]", "pandas", "pyarrow"),
        what=f"{_DOCUMENTED}: TorchTrainer of one worker with RayDDPStrategy and its report callback",
        script="ray_train.py",
    ),
    Client(
        name="lightning-examples",
        package="lightning",
        requirements=(),
        what="after its examples/pytorch that need no download: autoencoder and GAN on made-up images, the demos",
        script="lightning_examples.py",
    ),
)
