"""``self.log`` in all its ways."""

from __future__ import annotations

from typing import Any

import torch

from bench.parity.scenario import Case, Session, loss_of

EPOCH_HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_epoch_end",
)
BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_validation_batch_start",
    "on_validation_batch_end",
)
FORBIDDEN = ("on_fit_start", "on_fit_end", "on_train_end", "on_validation_end", "setup", "configure_optimizers")


def _logging(hook: str, **how: Any) -> dict[str, Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.log(f"from_{hook}", float(self.global_step + 1), batch_size=4, **how)
        return torch.optim.SGD(self.parameters(), lr=0.1) if hook == "configure_optimizers" else None

    def setup(self: Any, stage: str) -> None:
        method(self)

    return {hook: setup if hook == "setup" else method}


def _everywhere() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for hook in (*EPOCH_HOOKS, *BATCH_HOOKS):
        made |= _logging(hook)
    return made


def _training(**how: Any) -> dict[str, Any]:
    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = loss_of(self, batch)
        self.log("value", loss, **how)
        return loss

    return {"training_step": training_step}


def _both(**how: Any) -> dict[str, Any]:
    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("value", loss_of(self, batch), **how)

    return {**_training(**how), "validation_step": validation_step}


def _metric_begin(self: Any) -> None:
    import torchmetrics

    self.error = torchmetrics.MeanSquaredError()
    self.val_error = torchmetrics.MeanAbsoluteError()


def _metric_step(self: Any, batch: Any, batch_idx: int) -> Any:
    self.error(self.net(batch[0]), batch[1])
    self.log("error", self.error, on_step=True, on_epoch=True, prog_bar=True)
    return loss_of(self, batch)


def _metric_val(self: Any, batch: Any, batch_idx: int) -> None:
    self.val_error.update(self.net(batch[0]), batch[1])
    self.log("val_error", self.val_error)


def _dict_step(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    self.log_dict({"a": loss, "b": batch_idx, "c": torch.tensor([2.5])}, on_epoch=True, prog_bar=True)
    return loss


def _step_axis(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    self.log("value", loss)
    self.log("step", float(batch_idx * 10))
    self.log("epoch", 77.0)
    return loss


def _epoch_axis(self: Any) -> None:
    self.log("step", float(self.current_epoch))
    self.log("at_end", 1.5)


def _twice(self: Any, batch: Any, batch_idx: int) -> Any:
    loss = loss_of(self, batch)
    self.log("value", loss)
    self.log("value", loss, on_epoch=True)
    return loss


def _same_name(self: Any, batch: Any, batch_idx: int) -> None:
    self.log("train_loss", loss_of(self, batch), on_step=True)


def _hparams(**options: Any) -> Any:
    def begin(self: Any) -> None:
        self.save_hyperparameters({"lr": 0.1, "layers": [1, 2], "name": "x"}, **options)

    return begin


def _keep(session: Session) -> None:
    session.fit(max_epochs=1)
    kind, path = session.module_class(), session.checkpoint()
    loaded = kind.load_from_checkpoint(path)
    session.record.returned.append({"loaded": {name: value.tolist() for name, value in loaded.state_dict().items()}})
    session.record.returned.append({"hparams": dict(loaded.hparams)})


LOGGING = (
    Case(name="log in every hook", methods=_everywhere(), trainer={"log_every_n_steps": 2}),
    Case(
        name="log in every hook, accumulation, validation in mid-epoch",
        methods=_everywhere(),
        trainer={"log_every_n_steps": 1, "accumulate_grad_batches": 3, "val_check_interval": 3},
    ),
    *(Case(name=f"log in {hook}, forbidden", methods=_logging(hook)) for hook in FORBIDDEN),
    Case(name="log on_step in an epoch's hook", methods=_logging("on_train_epoch_end", on_step=True)),
    *(
        Case(name=f"log {how}", methods=_both(**how), trainer={"log_every_n_steps": 2})
        for how in (
            {"on_step": True},
            {"on_epoch": True},
            {"on_step": True, "on_epoch": True},
            {"on_step": False, "on_epoch": True, "prog_bar": True},
            {"on_step": False, "on_epoch": False},
            {"on_step": True, "on_epoch": True, "prog_bar": True, "logger": False},
            {"on_epoch": True, "reduce_fx": "sum"},
            {"on_epoch": True, "reduce_fx": "min"},
            {"on_epoch": True, "reduce_fx": "max"},
            {"on_epoch": True, "reduce_fx": torch.mean},
            {"on_epoch": True, "reduce_fx": "median"},
            {"on_epoch": True, "batch_size": 3},
            {"on_epoch": True, "enable_graph": True},
            {"on_epoch": True, "sync_dist": True},
            {"on_epoch": True, "rank_zero_only": True},
        )
    ),
    Case(
        name="torchmetrics",
        methods={"begin": _metric_begin, "training_step": _metric_step, "validation_step": _metric_val},
        trainer={"log_every_n_steps": 2, "val_check_interval": 3},
    ),
    Case(name="log_dict, numbers, integers, one element", methods={"training_step": _dict_step}),
    Case(
        name="metrics called step and epoch",
        methods={"training_step": _step_axis, "on_train_epoch_end": _epoch_axis},
        trainer={"log_every_n_steps": 2},
    ),
    Case(name="a name twice, otherwise", methods={"training_step": _twice}),
    Case(name="a name in training and validation", methods={"validation_step": _same_name}),
    Case(
        name="a vector",
        methods=_logging("on_train_epoch_end") | {"training_step": lambda self, b, i: self.log("v", b[0])},
    ),
    Case(name="hyperparameters", methods={"begin": _hparams()}, steps=_keep),
    Case(name="hyperparameters, not logged", methods={"begin": _hparams(logger=False)}, steps=_keep),
    Case(name="hyperparameters, some ignored", methods={"begin": _hparams(ignore=["name"])}, steps=_keep),
    Case(
        name="hyperparameters, not by themselves",
        methods={"begin": _hparams()},
        trainer={"enable_autolog_hparams": False},
    ),
)
