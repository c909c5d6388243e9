"""ModelCheckpoint at URLs does what it does in a directory, and says before training that it may not."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_line import Line, numbers, trainer

import thunderhead as th
from thunderhead.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.schemes import place_of
from thunderhead.files.urls import RefusedByStorage
from thunderhead.loggers import CSVLogger


class Scored(Line):
    """Logs as ``score`` what it was given, once per epoch."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = scores

    def on_train_epoch_end(self) -> None:
        """Log."""
        self.log("score", self.scores[self.current_epoch])


def fit(*callbacks: Any, scores: tuple[float, ...] = (1,), ckpt_path: str | None = None, **arguments: Any) -> Any:
    """Train an epoch for every score."""
    made = trainer(*callbacks, max_epochs=len(scores), **{"enable_checkpointing": None, **arguments})
    module = Scored(*scores)
    made.fit(module, numbers(1, 2), ckpt_path=ckpt_path)
    return made, module


def names(directory: str) -> list[str]:
    """What lies there."""
    return place_of(directory).names(directory)


@pytest.mark.parametrize("scheme", ["s3", "memory"])
def test_the_best_are_kept_and_the_last_is_one_of_its_own(
    scheme: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = f"{request.getfixturevalue('bucket')}/run/" if scheme == "s3" else f"memory://{tmp_path.name}/run"
    saving = ModelCheckpoint(root, "{epoch}", monitor="score", save_top_k=2, save_last="link")
    made, module = fit(saving, scores=(3, 1, 2, 4))
    assert names(root) == ["epoch=1.ckpt", "epoch=2.ckpt", "last.ckpt"]
    assert saving.best_model_path == f"{root.rstrip('/')}/epoch=1.ckpt"
    saving.to_yaml()
    assert "best_k_models.yaml" in names(root)
    found = Line.load_from_checkpoint(saving.last_model_path)
    assert torch.equal(found.weight, module.weight)
    assert place_of(root).exists(saving.last_model_path)

    # Going on from there, by name: a new callback finds it by its time, and ranks against what is kept.
    again = ModelCheckpoint(root, "{epoch}", monitor="score", save_top_k=2, save_last=True)
    with pytest.warns(UserWarning, match="exists and is not empty"):
        made, module = fit(again, scores=(0, 0, 0, 0, 0.5), ckpt_path="last")
    assert made.ckpt_path == f"{root.rstrip('/')}/last.ckpt"
    assert module.fed == [1, 2]
    assert sorted(again.best_k_models) == [f"{root.rstrip('/')}/epoch={n}.ckpt" for n in (1, 4)]
    # The file it resumed from stays, and so the new last one gets a name of its own beside it.
    assert {"epoch=1.ckpt", "epoch=4.ckpt", "last.ckpt"} <= set(names(root))
    assert "epoch=2.ckpt" not in names(root)


def test_names_count_on(bucket: str) -> None:
    root = f"{bucket}/run"
    for _ in range(2):
        with_warning = pytest.warns(UserWarning, match="not empty") if names(root) else None
        if with_warning is None:
            fit(ModelCheckpoint(root, "same"))
        else:
            with with_warning:
                fit(ModelCheckpoint(root, "same"))
    assert names(root) == ["same-v1.ckpt", "same.ckpt"]


def test_everything_goes_to_default_root_dir(bucket: str) -> None:
    root = f"{bucket}/home"
    made, _ = fit(default_root_dir=root, logger=True, log_every_n_steps=1)
    made.save_checkpoint(f"{root}/by hand.ckpt")
    assert names(root) == ["by hand.ckpt", "lightning_logs"]
    found = names(f"{root}/lightning_logs/version_0")
    assert [name.partition(".")[0] for name in found] == ["checkpoints", "events", "hparams"]
    assert (
        made.checkpoint_callback.best_model_path == f"{root}/lightning_logs/version_0/checkpoints/epoch=0-step=2.ckpt"
    )
    assert CSVLogger(root).version == 1
    with_callback = ModelCheckpoint(save_top_k=0)
    restored = trainer(with_callback, max_epochs=2, enable_checkpointing=None, default_root_dir=f"{bucket}/other")
    with pytest.warns(UserWarning, match="dirpath changed"):
        restored.fit(Scored(0, 0), numbers(1, 2), ckpt_path=f"{root}/by hand.ckpt")
    assert restored.global_step == 4


def test_the_logs_at_a_url_equal_those_of_a_directory(bucket: str, tmp_path: Path) -> None:
    texts = []
    for root in (f"{bucket}/logs", str(tmp_path / "logs")):
        logger = CSVLogger(root, flush_logs_every_n_steps=2)
        for step in range(5):
            logger.log_metrics({"loss": step / 3} if step < 3 else {"accuracy": 0.5}, step)
        logger.log_hyperparams({"rate": 0.1})
        logger.save()
        path = f"{logger.log_dir}/metrics.csv"
        with place_of(path).read(path) as stream:
            texts.append(stream.read().decode())
    assert texts[0] == texts[1]
    assert [row["loss"] for row in csv.DictReader(texts[0].splitlines())] == ["0.0", str(1 / 3), str(2 / 3), "", ""]


def test_after_an_exception(bucket: str) -> None:
    class Failing(Scored):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1 and not self.fed[0] == -1:
                raise ValueError("no")
            return super().training_step(batch, batch_idx)

    root = f"{bucket}/failed"
    callback = OnExceptionCheckpoint(root)
    with pytest.raises(ValueError, match="no"):
        trainer(callback, enable_checkpointing=None).fit(Failing(1), numbers(1, 2))
    assert names(root) == ["on_exception.ckpt"]
    module = Scored(1)
    made = trainer(OnExceptionCheckpoint(root), enable_checkpointing=None)
    made.fit(module, numbers(1, 2))
    assert module.fed == [2]
    assert names(root) == []


def test_who_may_not_write_learns_it_before_training(bucket: str) -> None:
    module = Scored(1)
    made = trainer(ModelCheckpoint("s3://there-is-none/run"), enable_checkpointing=None)
    with pytest.raises(RefusedByStorage, match="create the bucket"):
        made.fit(module, numbers(1))
    assert module.fed == []
    with pytest.raises(MisconfigurationException, match="nonsense"):
        ModelCheckpoint("nonsense://a")


def test_a_failing_save_is_raised(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from thunderhead.store.objects import Unavailable
    from thunderhead.store.s3 import S3Store

    def failing(self: Any, key: str, body: Any, **options: Any) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(S3Store, "put", failing)
    with pytest.raises(OSError, match=r"s3://checkpoints/run/epoch=0-step=2.ckpt.*no answer"):
        fit(ModelCheckpoint(f"{bucket}/run"))
    assert names(f"{bucket}/run") == []


def test_loading_what_is_not_there(bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"'s3://checkpoints/a\.ckpt' does not exist"):
        th.LightningModule.load_from_checkpoint(f"{bucket}/a.ckpt")
