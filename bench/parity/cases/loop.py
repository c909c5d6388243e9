"""How long, how often, how much: the arguments of the loop."""

from __future__ import annotations

from typing import Any

from bench.parity.explained import EACH_VALIDATION
from bench.parity.scenario import Case, Session


def _evaluations(session: Session) -> None:
    session.fit()
    for name in ("validate", "test", "predict"):
        session.evaluate(name)


def _early(api: Any) -> list[Any]:
    return [api.callbacks.EarlyStopping("val_loss", patience=0, min_delta=10.0)]


def _stop_at(batch: int) -> Any:
    def on_train_batch_end(self: Any, outputs: Any, batch_: Any, batch_idx: int) -> None:
        if batch_idx == batch:
            self.trainer.should_stop = True

    return on_train_batch_end


def _skip(self: Any, batch: Any, batch_idx: int) -> Any:
    return -1 if batch_idx == 2 else None


LOOP = (
    Case(name="defaults"),
    Case(name="defaults, hooks left alone", hooks=False),
    Case(name="fit, validate, test, predict", steps=_evaluations),
    Case(name="fit, validate, test, predict with a datamodule", steps=_evaluations, datamodule=True),
    Case(name="accumulate 3, a short tail", trainer={"accumulate_grad_batches": 3}),
    Case(
        name="accumulate 3, max_steps 4, validation every 2 batches",
        trainer={"accumulate_grad_batches": 3, "max_steps": 4, "max_epochs": -1, "val_check_interval": 2},
    ),
    Case(name="clip norm", trainer={"gradient_clip_val": 0.1, "accumulate_grad_batches": 2}),
    Case(name="clip value", trainer={"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    Case(name="max_steps in mid-epoch", trainer={"max_steps": 10, "max_epochs": -1}),
    Case(name="max_steps at an epoch's end", trainer={"max_steps": 7}),
    Case(name="max_epochs 0", trainer={"max_epochs": 0}),
    Case(name="max_steps 0", trainer={"max_steps": 0}),
    Case(name="min_steps with early stopping", trainer={"min_steps": 17, "max_epochs": 4}, callbacks=_early),
    Case(name="min_epochs with early stopping", trainer={"min_epochs": 2, "max_epochs": 4}, callbacks=_early),
    Case(name="should_stop in mid-epoch", methods={"on_train_batch_end": _stop_at(2)}),
    Case(
        name="should_stop in mid-epoch, log every 5",
        methods={"on_train_batch_end": _stop_at(2)},
        trainer={"log_every_n_steps": 5, "min_steps": 9},
    ),
    Case(
        name="on_train_batch_start gives -1",
        methods={"on_train_batch_start": _skip},
        explained={"*batch_progress/*": "a batch that on_train_batch_start refused is not counted; nothing reads that"},
    ),
    Case(name="limit batches by number", trainer={"limit_train_batches": 3, "limit_val_batches": 2}),
    Case(name="limit batches by share", trainer={"limit_train_batches": 0.5, "limit_val_batches": 0.4}),
    Case(name="limit batches to one", trainer={"limit_train_batches": 1, "limit_val_batches": 1}),
    Case(name="no validation by limit", trainer={"limit_val_batches": 0}),
    Case(name="no training by limit", trainer={"limit_train_batches": 0}),
    Case(name="a share less than a batch", trainer={"limit_train_batches": 0.01}),
    Case(name="overfit 2 batches", trainer={"overfit_batches": 2}),
    Case(name="overfit a share", trainer={"overfit_batches": 0.5}),
    Case(name="val_check_interval 0.5", trainer={"val_check_interval": 0.5}),
    Case(name="val_check_interval 3", trainer={"val_check_interval": 3}),
    Case(
        name="val_check_interval 1",
        trainer={"val_check_interval": 1, "limit_train_batches": 3},
        explained=EACH_VALIDATION,
    ),
    Case(name="val_check_interval 5 over epochs", trainer={"val_check_interval": 5, "check_val_every_n_epoch": None}),
    Case(
        name="val_check_interval 3 in every 2nd epoch",
        trainer={"val_check_interval": 3, "check_val_every_n_epoch": 2, "max_epochs": 4},
    ),
    Case(name="check_val_every_n_epoch 2", trainer={"check_val_every_n_epoch": 2, "max_epochs": 5}),
    Case(name="sanity check 0", trainer={"num_sanity_val_steps": 0}),
    Case(name="sanity check -1", trainer={"num_sanity_val_steps": -1}),
    Case(name="log every step", trainer={"log_every_n_steps": 1}),
    Case(name="log every 3 steps, accumulate 2", trainer={"log_every_n_steps": 3, "accumulate_grad_batches": 2}),
    Case(name="log never", trainer={"log_every_n_steps": 0}),
    Case(name="fast_dev_run", trainer={"fast_dev_run": True}, steps=_evaluations),
    Case(name="fast_dev_run 3", trainer={"fast_dev_run": 3}),
    Case(name="barebones", trainer={"barebones": True}),
    Case(name="no logger, no checkpoints", trainer={"logger": False, "enable_checkpointing": False}),
    Case(name="deterministic, anomaly detection", trainer={"detect_anomaly": True}),
)
