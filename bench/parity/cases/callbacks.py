"""Callbacks, and the files they leave."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch

from bench.parity.explained import (
    AFTER_THE_MODULE,
    AFTER_VALIDATION,
    AFTER_VALIDATION_KEPT,
    EVERY_NAME,
    LINKED,
    MISSING_AT_ONCE,
    ONE_PER_STEP,
    RESUMED,
    RESUMED_WITH_PLATEAU,
)
from bench.parity.scenario import Case, Session


def _checkpoint(**options: Any) -> Callable[[Any], list[Any]]:
    return lambda api: [api.callbacks.ModelCheckpoint(**options)]


def _stopping(**options: Any) -> Callable[[Any], list[Any]]:
    return lambda api: [api.callbacks.EarlyStopping(**options)]


def _changing(*values: float) -> dict[str, Any]:
    """A validation that logs these values, one per epoch."""

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", torch.tensor(values[self.current_epoch % len(values)]))
        self.log("val/acc", float(self.current_epoch))

    return {"validation_step": validation_step}


def _raises(self: Any) -> None:
    raise ValueError("on purpose")


CHECKPOINTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "monitor min, top 2": ({"monitor": "val_loss", "save_top_k": 2}, {}),
    "monitor max, top 1": ({"monitor": "val_loss", "mode": "max"}, {}),
    "monitor, top 0": ({"monitor": "val_loss", "save_top_k": 0}, {}),
    "all, last": ({"save_top_k": -1, "save_last": True}, {}),
    "top 1, last a link": ({"monitor": "val_loss", "save_last": "link"}, {}),
    "top 0, last": ({"save_top_k": 0, "save_last": True}, {}),
    "last alone": ({"save_last": True}, {}),
    "top 2, last": ({"monitor": "val_loss", "save_top_k": 2, "save_last": True}, {}),
    "a template": ({"filename": "{epoch:02d}-{val_loss:.2f}-{nothing}", "monitor": "val_loss"}, {}),
    "a template with a slash": ({"filename": "m-{val/acc:.1f}", "monitor": "val_loss"}, {}),
    "a template, no names": (
        {"filename": "e{epoch}-{val/acc:.1f}-x", "auto_insert_metric_name": False, "save_top_k": -1},
        {},
    ),
    "a fixed name": ({"filename": "model", "save_top_k": -1}, {}),
    "a fixed name, no versions": ({"filename": "model", "enable_version_counter": False}, {}),
    "every 3 steps": ({"every_n_train_steps": 3, "save_top_k": -1}, {}),
    "every 3 steps, newest": ({"every_n_train_steps": 3}, {}),
    "every 2 steps, a training metric": (
        {"every_n_train_steps": 2, "monitor": "train_loss_step", "save_top_k": 2},
        {},
    ),
    "every 2 steps, last": ({"every_n_train_steps": 2, "save_last": True}, {}),
    "every 4 steps, accumulation, validation in mid-epoch": (
        {"every_n_train_steps": 2, "save_top_k": -1},
        {"accumulate_grad_batches": 2, "val_check_interval": 3},
    ),
    "every 2 epochs": ({"every_n_epochs": 2, "save_top_k": -1}, {}),
    "every 0 epochs": ({"every_n_epochs": 0, "save_top_k": -1}, {}),
    "by validation in mid-epoch": ({"monitor": "val_loss", "save_top_k": -1}, {"val_check_interval": 0.5}),
    "by validation each 2nd epoch": ({"monitor": "val_loss", "save_top_k": -1}, {"check_val_every_n_epoch": 2}),
    "at validation's end": ({"save_on_train_epoch_end": False, "monitor": "val_loss"}, {}),
    "at the epoch's end": ({"save_on_train_epoch_end": True, "save_top_k": -1}, {"val_check_interval": 0.5}),
    "weights only": ({"save_weights_only": True}, {}),
    "a long interval": ({"train_time_interval": timedelta(hours=1)}, {}),
    "a monitor that is not logged": ({"monitor": "nothing"}, {}),
    "two triggers": ({"every_n_train_steps": 1, "every_n_epochs": 1}, {}),
    "top 3 without a monitor": ({"save_top_k": 3}, {}),
    "mode wrong": ({"mode": "least", "monitor": "val_loss"}, {}),
}

_MEANT = {
    "a fixed name": EVERY_NAME,
    "every 3 steps": AFTER_VALIDATION_KEPT,
    "every 3 steps, newest": AFTER_VALIDATION,
    "every 2 steps, last": AFTER_VALIDATION_KEPT,
    "top 1, last a link": LINKED,
    "every 2 steps, a training metric": AFTER_THE_MODULE,
    "every 4 steps, accumulation, validation in mid-epoch": AFTER_THE_MODULE,
}

STOPPING: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "patience 1": ({"monitor": "val_loss", "patience": 1}, (3.0, 2.0, 2.5, 2.4, 1.0)),
    "min_delta": ({"monitor": "val_loss", "patience": 2, "min_delta": 0.5}, (3.0, 2.8, 2.6, 1.0)),
    "mode max": ({"monitor": "val_loss", "mode": "max", "patience": 2}, (1.0, 2.0, 1.5, 1.0)),
    "threshold": ({"monitor": "val_loss", "stopping_threshold": 2.0}, (3.0, 1.0, 0.5, 0.2)),
    "divergence": ({"monitor": "val_loss", "divergence_threshold": 4.0}, (3.0, 5.0, 0.5, 0.2)),
    "not finite": ({"monitor": "val_loss"}, (3.0, float("nan"), 0.5, 0.2)),
    "not finite, unchecked": ({"monitor": "val_loss", "check_finite": False}, (3.0, float("nan"), 0.5, 0.2)),
    "at the epoch's end": ({"monitor": "train_loss_epoch", "check_on_train_epoch_end": True, "patience": 0}, (3.0,)),
    "at validation's end": ({"monitor": "val_loss", "check_on_train_epoch_end": False, "patience": 0}, (1.0, 2.0)),
    "missing": ({"monitor": "nothing"}, (3.0,)),
    "missing, not strict": ({"monitor": "nothing", "strict": False}, (3.0,)),
    "mode wrong": ({"monitor": "val_loss", "mode": "best"}, (3.0,)),
}

CALLBACKS = (
    *(
        Case(
            name=f"ModelCheckpoint: {name}",
            trainer={"max_epochs": 4, "log_every_n_steps": 1, **trainer},
            methods=_changing(3.0, 1.0, 2.0, 0.5),
            callbacks=_checkpoint(**options),
            explained=_MEANT.get(name, {}),
        )
        for name, (options, trainer) in CHECKPOINTS.items()
    ),
    *(
        Case(
            name=f"EarlyStopping: {name}",
            trainer={"max_epochs": 5},
            methods=_changing(*values),
            callbacks=_stopping(**options),
            explained=MISSING_AT_ONCE if name == "missing" else {},
        )
        for name, (options, values) in STOPPING.items()
    ),
    Case(
        name="EarlyStopping with validation in mid-epoch",
        trainer={"max_epochs": 4, "val_check_interval": 3},
        callbacks=_stopping(monitor="val_loss", patience=0, min_delta=10.0),
    ),
    *(
        Case(
            name=f"LearningRateMonitor: {name}",
            trainer={"log_every_n_steps": every, "accumulate_grad_batches": accumulate},
            callbacks=lambda api, interval=interval: [api.callbacks.LearningRateMonitor(interval, log_momentum=True)],
            explained=ONE_PER_STEP if accumulate > 1 else {},
        )
        for name, interval, every, accumulate in (
            ("step", "step", 2, 1),
            ("epoch", "epoch", 2, 1),
            ("either", None, 2, 1),
            ("step with accumulation", "step", 2, 3),
        )
    ),
    Case(
        name="LearningRateMonitor without a logger",
        trainer={"logger": False},
        callbacks=lambda api: [api.callbacks.LearningRateMonitor()],
    ),
    Case(
        name="GradientAccumulationScheduler",
        trainer={"max_epochs": 3},
        callbacks=lambda api: [api.callbacks.GradientAccumulationScheduler({0: 3, 2: 2})],
        explained={"attributes/accumulate_grad_batches": "the Trainer's own factor is back after the run"},
    ),
    Case(name="Timer of no time", callbacks=lambda api: [api.callbacks.Timer(timedelta(0))]),
    Case(name="Timer by epoch", callbacks=lambda api: [api.callbacks.Timer(timedelta(0), interval="epoch")]),
    Case(name="max_time, long", trainer={"max_time": "00:01:00:00"}),
    Case(name="an exception", methods={"on_train_epoch_end": _raises}),
    Case(
        name="an exception, saved",
        methods={"on_train_epoch_end": _raises},
        callbacks=_checkpoint(save_on_exception=True),
    ),
    Case(
        name="two ModelCheckpoints of one key",
        callbacks=lambda api: [api.callbacks.ModelCheckpoint(), api.callbacks.ModelCheckpoint()],
    ),
    Case(
        name="two ModelCheckpoints",
        callbacks=lambda api: [
            api.callbacks.ModelCheckpoint(monitor="val_loss"),
            api.callbacks.ModelCheckpoint(every_n_train_steps=5, save_top_k=-1),
        ],
        explained=AFTER_THE_MODULE,
    ),
)


def _resume(**changes: Any) -> Callable[[Session], None]:
    def steps(session: Session) -> None:
        session.fit(max_epochs=1)
        path = session.checkpoint()
        session.fit(ckpt_path=path, max_epochs=3, **changes)

    return steps


def _best(session: Session) -> None:
    session.fit()
    for name in ("validate", "test", "predict"):
        session.evaluate(name, ckpt_path="best")


RESUMING = (
    Case(name="resumed after an epoch", explained=RESUMED, steps=_resume()),
    Case(name="resumed after an epoch, weights_only", explained=RESUMED, steps=_resume(weights_only=True)),
    Case(
        name="resumed after an epoch with a plateau scheduler",
        explained=RESUMED_WITH_PLATEAU,
        steps=_resume(),
        methods={
            "configure_optimizers": lambda self: {
                "optimizer": (o := torch.optim.Adam(self.parameters(), lr=0.01)),
                "lr_scheduler": {
                    "scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=1.0),
                    "monitor": "val_loss",
                },
            }
        },
        callbacks=lambda api: [api.callbacks.LearningRateMonitor(), api.callbacks.EarlyStopping("val_loss")],
    ),
    Case(
        name="resumed after an epoch with OneCycle",
        explained=RESUMED,
        steps=_resume(),
        methods={
            "configure_optimizers": lambda self: (
                [o := torch.optim.Adam(self.parameters(), lr=0.01)],
                [
                    {
                        "scheduler": torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=40),
                        "interval": "step",
                    }
                ],
            )
        },
        callbacks=lambda api: [api.callbacks.LearningRateMonitor("step")],
        trainer={"log_every_n_steps": 1},
    ),
    Case(name="resumed with a datamodule", explained=RESUMED, steps=_resume(), datamodule=True),
    Case(name="best for validate, test, predict", steps=_best, callbacks=_checkpoint(monitor="val_loss")),
)
