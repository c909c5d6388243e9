"""Optimizers and schedulers, automatic and by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import lr_scheduler

from bench.parity.explained import CLOSURES, EARLIER, ONE_PER_STEP
from bench.parity.scenario import Case, loss_of


def _sgd(self: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def _with(make: Callable[[Any, torch.optim.Optimizer], Any]) -> dict[str, Any]:
    def configure_optimizers(self: Any) -> Any:
        return make(self, _sgd(self))

    return {"configure_optimizers": configure_optimizers}


def _step(optimizer: torch.optim.Optimizer) -> lr_scheduler.StepLR:
    return lr_scheduler.StepLR(optimizer, 1, 0.5)


def _dict(**config: Any) -> Callable[[Any, torch.optim.Optimizer], Any]:
    return lambda module, o: {"optimizer": o, "lr_scheduler": {"scheduler": _step(o), **config}}


def _plateau(o: torch.optim.Optimizer) -> lr_scheduler.ReduceLROnPlateau:
    return lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.1, threshold=1.0)


def _one_cycle(self: Any, o: torch.optim.Optimizer) -> Any:
    total = int(self.trainer.estimated_stepping_batches)
    scheduler = lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=total)
    return [o], [{"scheduler": scheduler, "interval": "step"}]


def _watched(interval: str, monitor: str, **more: Any) -> Callable[[Any, torch.optim.Optimizer], Any]:
    return lambda module, o: {
        "optimizer": o,
        "lr_scheduler": {"scheduler": _plateau(o), "monitor": monitor, "interval": interval, **more},
    }


FORMS: dict[str, Callable[[Any, torch.optim.Optimizer], Any]] = {
    "an optimizer": lambda module, o: o,
    "a list of one": lambda module, o: [o],
    "two lists": lambda module, o: ([o], [_step(o)]),
    "two schedulers": lambda module, o: (
        [o],
        [{"scheduler": _step(o), "interval": "step"}, lr_scheduler.ExponentialLR(o, 0.9)],
    ),
    "a dict with a scheduler": lambda module, o: {"optimizer": o, "lr_scheduler": _step(o)},
    "a list of dicts": lambda module, o: [{"optimizer": o, "lr_scheduler": {"scheduler": _step(o)}}],
    "None": lambda module, o: None,
    "interval step": _dict(interval="step"),
    "interval step, frequency 2": _dict(interval="step", frequency=2),
    "interval epoch, frequency 2": _dict(interval="epoch", frequency=2),
    "a name and a monitor": _dict(name="rate", monitor="val_loss"),
    "an unknown key": _dict(intervall="step"),
    "an unknown interval": _dict(interval="hour"),
    "plateau of val_loss": _watched("epoch", "val_loss"),
    "plateau of train_loss_epoch": _watched("epoch", "train_loss_epoch"),
    "plateau by step": _watched("step", "train_loss_step", frequency=2),
    "plateau, missing, not strict": _watched("epoch", "nothing", strict=False),
    "plateau, missing": _watched("epoch", "nothing"),
    "plateau by a dict's own monitor": lambda module, o: {
        "optimizer": o,
        "lr_scheduler": _plateau(o),
        "monitor": "val_loss",
    },
    "plateau without a monitor": lambda module, o: ([o], [_plateau(o)]),
    "OneCycle over estimated_stepping_batches": _one_cycle,
    "several optimizers": lambda module, o: [o, _sgd(module)],
    "a number": lambda module, o: 3,
    "a foreign scheduler": lambda module, o: ([o], [_step(_sgd(module))]),
}


def _manual_step(self: Any, batch: Any, batch_idx: int) -> Any:
    first, second = self.optimizers()
    self.toggle_optimizer(first)
    loss = loss_of(self, batch)
    self.log("a_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
    first.zero_grad()
    self.manual_backward(loss)
    self.clip_gradients(first, 0.1, "norm")
    first.step()
    self.untoggle_optimizer(first)
    with second.toggle_model(sync_grad=batch_idx % 2 == 1):
        other = loss_of(self, batch).abs()
        self.manual_backward(other)
        if batch_idx % 2:
            second.step()
            second.zero_grad()
            for scheduler in self.lr_schedulers():
                scheduler.step()
    return {"loss": loss, "other": other.detach()} if batch_idx != 3 else None


def _manual_closure(self: Any, batch: Any, batch_idx: int) -> None:
    optimizer = self.optimizers()

    def closure() -> Any:
        loss = loss_of(self, batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        return loss

    optimizer.step(closure=closure)


def _two_optimizers(self: Any) -> Any:
    first = torch.optim.Adam(self.net[0].parameters(), lr=1e-2)
    second = torch.optim.SGD(self.net[4].parameters(), lr=0.05)
    return [first, second], [_step(first), _step(second)]


def _lbfgs(self: Any) -> Any:
    return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


def _returns(what: str) -> Callable[[Any, Any, int], Any]:
    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = loss_of(self, batch)
        self.log("train_loss", loss)
        if what == "dict":
            return {"loss": loss, "extra": loss.detach() * 2}
        if what == "None":
            return None if batch_idx % 3 == 1 else loss
        return {"none": 1} if what == "wrong" else float(loss)

    return training_step


def _own_step(self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
    if batch_idx % 2 == 0:
        optimizer.step(closure=optimizer_closure)
    else:
        optimizer_closure()


def _own_clipping(
    self: Any, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
) -> None:
    self.clip_gradients(optimizer, gradient_clip_val=0.05, gradient_clip_algorithm="norm")


def _begin_manual(self: Any) -> None:
    self.automatic_optimization = False


MANUAL = {"begin": _begin_manual}

OPTIMISATION = (
    *(
        Case(
            name=f"configure_optimizers: {name}",
            methods=_with(make),
            callbacks=lambda api: [api.callbacks.LearningRateMonitor()],
            trainer={"log_every_n_steps": 2},
        )
        for name, make in FORMS.items()
    ),
    Case(
        name="schedulers with accumulation",
        methods=_with(FORMS["interval step, frequency 2"]),
        trainer={"accumulate_grad_batches": 3, "log_every_n_steps": 1},
        callbacks=lambda api: [api.callbacks.LearningRateMonitor("step", log_momentum=True, log_weight_decay=True)],
        explained={**ONE_PER_STEP, "metrics/*/lr-SGD-weight_decay/0": "rates and decays are floats, though given as 0"},
    ),
    Case(
        name="plateau with validation in mid-epoch",
        methods=_with(_watched("step", "val_loss", frequency=3)),
        trainer={"val_check_interval": 3, "num_sanity_val_steps": 2},
    ),
    Case(
        name="plateau of val_loss, validation every 2nd epoch",
        methods=_with(_watched("epoch", "val_loss", frequency=2)),
        trainer={"check_val_every_n_epoch": 2, "max_epochs": 4},
    ),
    Case(
        name="manual, two optimizers, toggled",
        methods={**MANUAL, "training_step": _manual_step, "configure_optimizers": _two_optimizers},
        trainer={"log_every_n_steps": 2},
    ),
    Case(
        name="manual, two optimizers, max_steps",
        methods={**MANUAL, "training_step": _manual_step, "configure_optimizers": _two_optimizers},
        trainer={"max_steps": 8},
    ),
    Case(
        name="manual, a closure",
        methods={**MANUAL, "training_step": _manual_closure, "configure_optimizers": _sgd},
    ),
    Case(
        name="manual with clipping by the Trainer",
        methods={**MANUAL, "training_step": _manual_closure, "configure_optimizers": _sgd},
        trainer={"gradient_clip_val": 1.0},
    ),
    Case(name="LBFGS", methods={"configure_optimizers": _lbfgs}, explained=CLOSURES),
    *(
        Case(name=f"training_step returns {what}", methods={"training_step": _returns(what)})
        for what in ("dict", "None", "wrong", "float")
    ),
    Case(name="optimizer_step of its own", methods={"optimizer_step": _own_step}),
    Case(name="clipping of its own", methods={"configure_gradient_clipping": _own_clipping}),
    Case(
        name="Adam without hooks, accumulation",
        methods={"configure_optimizers": lambda self: torch.optim.AdamW(self.parameters(), lr=0.01)},
        trainer={"accumulate_grad_batches": 2, "gradient_clip_val": 0.5},
        hooks=False,
    ),
    *(
        Case(name=f"precision {name}", trainer={"precision": name, "gradient_clip_val": 0.5})
        for name in ("64-true", "bf16-mixed", "bf16-true", "16-mixed", "16-true", "32")
    ),
    Case(name="precision unknown", trainer={"precision": "8"}, explained=EARLIER),
)
