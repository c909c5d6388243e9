"""Golden orders of whole runs with everything in them: two callbacks, a datamodule, two optimizers, a resume.

``a.`` and ``b.`` are callbacks in the order of the list, ``m.`` is the module, ``dm.`` the datamodule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_models import QUIET
from trainer_recorder import (
    CALLBACK_HOOKS,
    MODULE_HOOKS,
    TRANSFER_HOOKS,
    Plain,
    recorded_data,
    recorded_module,
    recording,
)

import thunderhead as th
from thunderhead.callbacks import Callback


def callbacks(log: list[str]) -> list[Callback]:
    """Two that record."""
    first, second = (recording(Callback, name, CALLBACK_HOOKS, log) for name in "ab")
    second.state_key = "second"  # type: ignore[attr-defined]
    return [first(), second()]


def run(fn: str, module: Any = None, log: list[str] | None = None, **options: Any) -> list[str]:
    """The hooks of an entry point over one batch of everything, but for asking for state."""
    log = [] if log is None else log
    module = recorded_module(log, tuple(TRANSFER_HOOKS)) if module is None else module
    limits = {f"limit_{stage}_batches": 1 for stage in ("train", "val", "test", "predict")}
    made = th.Trainer(**{**QUIET, "max_epochs": 1, **limits, **options.pop("arguments", {})}, callbacks=callbacks(log))
    getattr(made, fn)(module, datamodule=recorded_data(log), **options)
    return [name for name in log if not name.endswith("state_dict")]


def golden(text: str) -> list[str]:
    """``ab.x`` is both callbacks, ``abm.x`` the module after them; ``dm.x``, ``m.x`` as they are."""
    found = []
    for word in text.split():
        who, name = word.split(".")
        found += [f"{one}.{name}" for one in (who if who in ("ab", "abm") else [who])]
    return found


TRANSFER = "dm.on_before_batch_transfer dm.transfer_batch_to_device dm.on_after_batch_transfer "
PREPARING = "m.configure_callbacks dm.prepare_data m.prepare_data dm.setup abm.setup m.configure_model "
VALIDATION = (
    "m.on_validation_model_eval abm.on_validation_start abm.on_validation_epoch_start "
    + TRANSFER
    + "abm.on_validation_batch_start m.validation_step abm.on_validation_batch_end "
    "abm.on_validation_epoch_end abm.on_validation_end "
)
FIT_VALIDATION = "m.on_validation_model_zero_grad m.zero_grad " + VALIDATION
ENDING = "abm.on_train_epoch_end abm.on_train_end abm.on_fit_end dm.teardown abm.teardown "


def test_fit() -> None:
    assert run("fit") == golden(
        PREPARING + "m.configure_optimizers abm.on_fit_start m.zero_grad "
        "ab.on_sanity_check_start dm.val_dataloader " + VALIDATION + "ab.on_sanity_check_end "
        "dm.train_dataloader abm.on_train_start abm.on_train_epoch_start "
        + TRANSFER
        + "abm.on_train_batch_start m.optimizer_step m.training_step "
        "abm.on_before_zero_grad m.optimizer_zero_grad "
        "abm.on_before_backward m.backward abm.on_after_backward "
        "abm.on_before_optimizer_step m.configure_gradient_clipping m.clip_gradients "
        "m.lr_scheduler_step abm.on_train_batch_end " + FIT_VALIDATION + ENDING
    )


@pytest.mark.parametrize(
    ("fn", "kind", "loader"),
    [("validate", "validation", "val"), ("test", "test", "test"), ("predict", "predict", "predict")],
)
def test_evaluation(fn: str, kind: str, loader: str) -> None:
    assert run(fn) == golden(
        PREPARING + f"m.zero_grad dm.{loader}_dataloader m.on_{kind}_model_eval "
        f"abm.on_{kind}_start abm.on_{kind}_epoch_start {TRANSFER}"
        f"abm.on_{kind}_batch_start m.{kind}_step abm.on_{kind}_batch_end "
        f"abm.on_{kind}_epoch_end abm.on_{kind}_end dm.teardown abm.teardown"
    )


class TwoOptimizers(Plain):
    """Steps two optimizers in each batch, by hand."""

    def __init__(self) -> None:
        super().__init__(manual=True)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One after the other."""
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.layer(batch[0]).mean())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        """SGD twice."""
        return [torch.optim.SGD(self.parameters(), 0.1), torch.optim.SGD(self.parameters(), 0.1)]


def test_two_optimizers_by_hand() -> None:
    log: list[str] = []
    hooks = [name for name in MODULE_HOOKS if name not in TRANSFER_HOOKS]
    module = recording(TwoOptimizers, "m", hooks, log)()
    once = "abm.on_before_backward m.backward abm.on_after_backward abm.on_before_optimizer_step "
    found = run("fit", module, log)
    start = found.index("a.on_train_batch_start")
    assert found[start:] == golden(
        "abm.on_train_batch_start m.training_step " + once * 2 + "abm.on_train_batch_end " + FIT_VALIDATION + ENDING
    )


def saved(path: Path, *, batch: int | None) -> None:
    """A file of a run of two epochs of two batches: after a batch of the first epoch, or after that epoch."""

    class Saving(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch_: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 0 and batch_idx == batch:
                trainer.save_checkpoint(path)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 0 and batch is None:
                trainer.save_checkpoint(path)

    made = th.Trainer(**QUIET, max_epochs=2, limit_train_batches=2, callbacks=[Saving()])
    made.fit(recorded_module([], tuple(TRANSFER_HOOKS)), datamodule=recorded_data([]))


RESTORING = "m.on_load_checkpoint m.load_state_dict dm.load_state_dict ab.on_load_checkpoint "
CASES = {
    # Inside an epoch: no sanity check, no second start of that epoch, the batch that is left, its validation.
    "after the first of two batches": (0, "", ["on_train_batch_start", "on_validation_start", "on_train_epoch_end"]),
    # The batch was the last: what is left of the epoch is its validation and end.
    "after the last batch, before validation": (1, "", ["on_validation_start", "on_train_epoch_end"]),
    # At the end of an epoch, in a callback: a sanity check, what the module does then, and the second epoch.
    "after the epoch": (
        None,
        "ab.on_sanity_check_start ab.on_sanity_check_end",
        [
            "on_train_epoch_end",
            "on_train_epoch_start",
            "on_train_batch_start",
            "on_train_batch_start",
            "on_validation_start",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_resuming(tmp_path: Path, case: str) -> None:
    batch, sanity, begins = CASES[case]
    saved(tmp_path / "a.ckpt", batch=batch)
    log: list[str] = []
    arguments = {"max_epochs": 2, "limit_train_batches": 2}
    run("fit", log=log, arguments=arguments, ckpt_path=tmp_path / "a.ckpt")
    start = log.index("m.configure_model") + 1
    end = log.index("m.configure_optimizers")
    assert log[start:end] == golden(RESTORING)
    assert [name for name in log if "sanity" in name] == golden(sanity)
    trained = log[log.index("m.on_train_start") :]
    marks = ("on_train_epoch_start", "on_train_batch_start", "on_validation_start", "on_train_epoch_end")
    order = [name.removeprefix("m.") for name in trained if name.startswith("m.") and name[2:] in marks]
    assert order[: len(begins)] == begins
    assert order.count("on_train_epoch_end") == 2
    assert order[-1] == "on_train_epoch_end"
