"""What ``.ckpt`` files hold at the moments at which callbacks save, in Lightning's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from trainer_models import QUIET, Net, regression

import thunderhead as th
from thunderhead.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from thunderhead.loggers import CSVLogger

LOUD = {**QUIET, "enable_checkpointing": None}


def loader() -> DataLoader[Any]:
    return DataLoader(regression(12), batch_size=4)


class Validating(Net):
    """A value that does not get better."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("constant", 1.0)


def saved(path: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def even(count: int) -> dict[str, int]:
    return {"ready": count, "started": count, "processed": count, "completed": count}


def test_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path)
    trainer = th.Trainer(**LOUD, callbacks=[checkpoint], max_epochs=2)
    trainer.fit(Validating(), loader(), loader())
    loop = saved(checkpoint.best_model_path)["loops"]["fit_loop"]
    # Saved by a hook of the epoch's end: processed, and not yet complete.
    assert loop["epoch_progress"]["current"] == {"ready": 2, "started": 2, "processed": 2, "completed": 1}
    batches = loop["epoch_loop.batch_progress"]
    assert (batches["total"], batches["current"], batches["is_last_batch"]) == (even(6), even(3), True)
    validated = loop["epoch_loop.val_loop.batch_progress"]
    assert (validated["total"], validated["current"], validated["is_last_batch"]) == (even(3), even(3), True)
    # Net steps its scheduler with each batch.
    scheduled = loop["epoch_loop.scheduler_progress"]
    assert scheduled == {"total": {"ready": 6, "completed": 6}, "current": {"ready": 3, "completed": 3}}


def test_counters_of_schedulers_go_on_after_a_resume(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, save_top_k=-1)
    th.Trainer(**LOUD, callbacks=[checkpoint], max_epochs=1).fit(Net(), loader())
    later = ModelCheckpoint(tmp_path / "later")
    with pytest.warns(UserWarning, match="dirpath changed"):
        th.Trainer(**LOUD, callbacks=[later], max_epochs=2).fit(Net(), loader(), ckpt_path=checkpoint.best_model_path)
    scheduled = saved(later.best_model_path)["loops"]["fit_loop"]["epoch_loop.scheduler_progress"]
    assert scheduled == {"total": {"ready": 6, "completed": 6}, "current": {"ready": 3, "completed": 3}}


def test_why_training_was_stopped(tmp_path: Path) -> None:
    stopping = EarlyStopping("constant", patience=1)
    checkpoint = ModelCheckpoint(tmp_path)
    trainer = th.Trainer(**LOUD, callbacks=[stopping, checkpoint], max_epochs=5)
    trainer.fit(Validating(), loader(), loader())
    state = saved(checkpoint.best_model_path)["callbacks"][stopping.state_key]
    assert (state["stopping_reason"], "did not improve" in state["stopping_reason_message"]) == (3, True)
    other = EarlyStopping("constant", patience=1)
    other.load_state_dict(state)
    assert other.stopping_reason is stopping.stopping_reason
    assert other.stopping_reason_message == stopping.stopping_reason_message


class Graph(Net):
    """Logs a value with its graph."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("value", loss, on_step=True, on_epoch=True, enable_graph=True)
        return loss


def test_values_with_a_graph_do_not_keep_callbacks_from_saving(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, monitor="value_epoch")
    th.Trainer(**LOUD, callbacks=[checkpoint], max_epochs=1).fit(Graph(), loader())
    assert checkpoint.best_model_score is not None
    assert not checkpoint.best_model_score.requires_grad


class Restored(th.Callback):
    """Has state."""

    state: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"kept": 1}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict


def test_callbacks_get_their_state_in_evaluation_too(tmp_path: Path) -> None:
    trainer = th.Trainer(**QUIET, callbacks=[Restored()], max_epochs=1)
    trainer.fit(Validating(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    restored = Restored()
    later = th.Trainer(**QUIET, callbacks=[restored])
    later.validate(Validating(), loader(), ckpt_path=tmp_path / "a.ckpt")
    assert restored.state == {"kept": 1}


class Unnamed(Net):
    """Hyperparameters that came from no argument."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"depth": 2})


def test_hyperparameters_without_an_argument(tmp_path: Path) -> None:
    trainer = th.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Unnamed(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = saved(str(tmp_path / "a.ckpt"))
    assert (content["hparams_name"], content["hyper_parameters"]) == (None, {"depth": 2})
    assert Unnamed.load_from_checkpoint(tmp_path / "a.ckpt").hparams == {"depth": 2}


class Unlearning(Net):
    """Trains without an optimizer."""

    def configure_optimizers(self) -> Any:
        return None


@pytest.mark.filterwarnings("ignore:configure_optimizers returned None")
def test_no_optimizer_has_no_rate(tmp_path: Path) -> None:
    monitor = LearningRateMonitor()
    arguments = {**QUIET, "logger": CSVLogger(tmp_path), "callbacks": [monitor], "max_epochs": 1}
    th.Trainer(**arguments, log_every_n_steps=1).fit(Unlearning(), loader())
    assert monitor.lrs == {}
