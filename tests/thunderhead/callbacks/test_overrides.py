"""Methods of Lightning's callbacks that subclasses in the field override are called where Lightning calls them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from trainer_models import QUIET

import thunderhead as th
from thunderhead.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, Timer
from thunderhead.precision import Precision
from thunderhead.strategies import DDPStrategy
from thunderhead.warning import PossibleUserWarning

SAVES: dict[str, Any] = {**QUIET, "enable_checkpointing": True}


class Scored(th.LightningModule):
    """Its score goes through ``scores``, an epoch each."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.scores = scores

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("score", self.scores[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(callback: th.Callback, scores: list[float], **arguments: Any) -> th.Trainer:
    trainer = th.Trainer(**{**SAVES, "max_epochs": len(scores), **arguments}, callbacks=[callback])
    trainer.fit(Scored(scores), DataLoader(torch.ones(2, 1), 1), DataLoader(torch.ones(1, 1)))
    return trainer


class Watching(ModelCheckpoint):
    """Notes each call, and goes on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[Any] = []

    def _should_skip_saving_checkpoint(self, trainer: Any) -> bool:
        found = super()._should_skip_saving_checkpoint(trainer)
        self.seen.append(("skip", found))
        return found

    def _monitor_candidates(self, trainer: Any) -> Any:
        self.seen.append("candidates")
        return super()._monitor_candidates(trainer)

    def _save_topk_checkpoint(self, trainer: Any, monitor_candidates: Any) -> None:
        self.seen.append("topk")
        super()._save_topk_checkpoint(trainer, monitor_candidates)

    def _save_monitor_checkpoint(self, trainer: Any, monitor_candidates: Any) -> None:
        self.seen.append("monitor")
        super()._save_monitor_checkpoint(trainer, monitor_candidates)

    def _save_none_monitor_checkpoint(self, trainer: Any, monitor_candidates: Any) -> None:
        self.seen.append("none monitor")
        super()._save_none_monitor_checkpoint(trainer, monitor_candidates)

    def _update_best_and_save(self, current: Any, trainer: Any, monitor_candidates: Any) -> None:
        self.seen.append(("best", current.item()))
        super()._update_best_and_save(current, trainer, monitor_candidates)

    def _save_last_checkpoint(self, trainer: Any, monitor_candidates: Any) -> None:
        self.seen.append("last")
        super()._save_last_checkpoint(trainer, monitor_candidates)

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        self.seen.append(("save", Path(filepath).name))
        super()._save_checkpoint(trainer, filepath)

    def _should_remove_checkpoint(self, trainer: Any, previous: str, current: str) -> bool:
        self.seen.append(("may remove", Path(previous).name))
        return super()._should_remove_checkpoint(trainer, previous, current)

    def _remove_checkpoint(self, trainer: Any, filepath: str) -> None:
        self.seen.append(("remove", Path(filepath).name))
        super()._remove_checkpoint(trainer, filepath)


def test_each_is_called_at_its_moment(tmp_path: Path) -> None:
    callback = Watching(tmp_path, "{epoch}", monitor="score", save_last=True, save_on_train_epoch_end=False)
    fit(callback, [2.0, 3.0, 1.0], num_sanity_val_steps=0)
    assert callback.seen == [
        *[("skip", False), "candidates", "topk", "monitor", ("best", 2.0), ("save", "epoch=0.ckpt")],
        *["last", ("save", "last.ckpt")],
        ("skip", True),
        *[("skip", False), "candidates", "topk", "monitor"],
        ("skip", False),
        *[("skip", False), "candidates", "topk", "monitor", ("best", 1.0), ("save", "epoch=2.ckpt")],
        *[("may remove", "epoch=0.ckpt"), ("remove", "epoch=0.ckpt"), "last", ("save", "last.ckpt")],
        *[("may remove", "last.ckpt"), ("skip", True)],
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=2.ckpt", "last.ckpt"]


def test_without_a_metric(tmp_path: Path) -> None:
    callback = Watching(tmp_path, "{epoch}")
    fit(callback, [1.0, 1.0])
    kinds = ("none monitor", "monitor")
    assert [call for call in callback.seen if call in kinds or call[0] in ("save", "remove")] == [
        *["none monitor", ("save", "epoch=0.ckpt"), "none monitor", ("save", "epoch=1.ckpt")],
        ("remove", "epoch=0.ckpt"),
    ]


def test_one_that_never_saves(tmp_path: Path) -> None:
    class Never(ModelCheckpoint):
        def _should_skip_saving_checkpoint(self, trainer: Any) -> bool:
            return True

    fit(Never(tmp_path / "c", monitor="score"), [1.0, 2.0])
    assert not (tmp_path / "c").exists()


def test_one_that_ranks_by_its_own_value(tmp_path: Path) -> None:
    class Smooth(ModelCheckpoint):
        def _monitor_candidates(self, trainer: Any) -> Any:
            found = super()._monitor_candidates(trainer)
            return {**found, "both": found["score"] + found["step"]} if "score" in found else found

        def _update_best_and_save(self, current: Tensor, trainer: Any, monitor_candidates: Any) -> None:
            super()._update_best_and_save(current / 2, trainer, monitor_candidates)

    callback = Smooth(tmp_path, "{both:.0f}", monitor="both", save_top_k=2, auto_insert_metric_name=False)
    fit(callback, [10.0, 1.0, 7.0], num_sanity_val_steps=0)
    # Ranked by 12/2, 5/2 and, of 13, nothing: it is worse than what is kept.
    assert {Path(path).name: score.item() for path, score in callback.best_k_models.items()} == {
        "12.ckpt": 6.0,
        "5.ckpt": 2.5,
    }


def test_one_that_does_all_of_it_itself(tmp_path: Path) -> None:
    """As packages do that keep other files: over the public attributes, with names from the base."""

    class Own(ModelCheckpoint):
        def _update_best_and_save(self, current: Tensor, trainer: Any, monitor_candidates: Any) -> None:
            path = self._get_metric_interpolated_filepath_name(monitor_candidates, trainer)
            assert not self.file_exists(path, trainer)
            self.best_k_models[path] = self.kth_value = current
            self.kth_best_model_path = self.best_model_path = path
            self._save_checkpoint(trainer, path)
            assert self.file_exists(path, trainer)

    callback = Own(tmp_path, "{epoch}", monitor="score")
    fit(callback, [3.0, 2.0, 2.5], num_sanity_val_steps=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=0.ckpt", "epoch=1.ckpt"]


def test_called_out_of_turn(tmp_path: Path) -> None:
    """A subclass may save when it likes; then nothing was planned before."""

    class Often(ModelCheckpoint):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 1:
                candidates = self._monitor_candidates(trainer)
                self._save_topk_checkpoint(trainer, candidates)
                self._save_last_checkpoint(trainer, candidates)

    callback = Often(tmp_path, "{step}", save_last=True, every_n_train_steps=9)
    fit(callback, [1.0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "step=1.ckpt"]


def test_early_stopping() -> None:
    class Own(EarlyStopping):
        seen: list[Any] = []  # noqa: RUF012 - looked at by the test

        def _run_early_stopping_check(self, trainer: Any) -> None:
            self.seen.append("run")
            super()._run_early_stopping_check(trainer)

        def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
            self.seen.append(current.item())
            return super()._evaluate_stopping_criteria(current)

        def _improvement_message(self, current: Tensor) -> str:
            self.seen.append("better")
            return "better"

    trainer = fit(Own("score", patience=1), [2.0, 1.0, 3.0, 4.0])
    assert trainer.current_epoch == 3
    assert Own.seen == ["run", 2.0, "better", "run", 1.0, "better", "run", 3.0]
    callback = EarlyStopping("score", mode="max")
    assert callback.monitor_op is torch.gt
    assert (list(callback.mode_dict), callback.order_dict["max"]) == (["min", "max"], ">")


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_timer_that_counts_otherwise(interval: str) -> None:
    class Own(Timer):
        def _check_time_remaining(self, trainer: Any) -> None:
            trainer.should_stop = trainer.global_step >= 3

    trainer = fit(Own("00:01:00:00", interval=interval), [1.0] * 4)
    assert trainer.global_step == {"step": 3, "epoch": 4}[interval]


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (ModelCheckpoint, "_link_checkpoint"),
        (LearningRateMonitor, "_extract_lr"),
        (DDPStrategy, "configure_ddp"),
        (DDPStrategy, "batch_to_device"),
        (Precision, "_wrap_closure"),
        (th.Trainer, "_run_stage"),
        (th.LightningModule, "_call_batch_hook"),
    ],
)
def test_what_nothing_calls_is_said_where_the_subclass_is_made(base: type, name: str) -> None:
    with pytest.warns(PossibleUserWarning, match=rf"^Mine\.{name} is called by nothing: it belongs to the inside of"):
        type("Mine", (base,), {name: lambda *_: None, "__module__": "theirs"})


def test_names_of_one_s_own_are_nobody_s_business() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        type("Mine", (ModelCheckpoint,), {"_helper": None, "_save_checkpoint": lambda *_: None, "__module__": "theirs"})
        type("Mine", (th.Callback,), {"_extract_lr": lambda *_: None, "__module__": "theirs"})


def test_what_is_due_is_read_under_the_names_of_the_field() -> None:
    assert (ModelCheckpoint(every_n_epochs=3)._every_n_epochs, ModelCheckpoint()._every_n_train_steps) == (3, 0)
    assert (ModelCheckpoint(every_n_train_steps=5)._every_n_train_steps, ModelCheckpoint()._every_n_epochs) == (5, 1)
