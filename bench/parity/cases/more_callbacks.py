"""Callbacks that average, freeze, prune, measure and search."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_avg_fn

from bench.parity.explained import RESUMED
from bench.parity.observe import network
from bench.parity.record import plain
from bench.parity.scenario import Case, Session, seed

Make = Callable[[Any], list[Any]]


def _only(name: str, **options: Any) -> Make:
    return lambda api: [getattr(api.callbacks, name)(**options)]


def _with_steps(self: Any) -> Any:
    optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
    return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def _split(self: Any) -> None:
    """A backbone without BatchNorm, and the head."""
    self.backbone = nn.Linear(4, 4)
    self.net = nn.Sequential(self.backbone, network())


def _of_trained(self: Any) -> Any:
    return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=0.01)


def _without_normalising(self: Any) -> None:
    self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


_SPLIT: Final = {"begin": _split, "configure_optimizers": _of_trained}
_PLAIN: Final = {"begin": _without_normalising}

# Reasons, by pattern of path.
_ONCE: Final = {"hooks/3": "configure_model is called once, and the average is made after it"}
_ONCE_RESUMED: Final = {**RESUMED, **_ONCE, "hooks/310": _ONCE["hooks/3"]}
_FROZEN: Final = {"checkpoints/*/callbacks/*Finetuning/frozen_*": "a file holds what is frozen, for who resumes"}
_MASKS: Final = {
    "checkpoints/*/callbacks/ModelPruning": "a file holds masks and the values under them, for who resumes"
}
_SWALR: Final = dict.fromkeys(
    ("checkpoints/*/lr_schedulers/0/last_epoch", "checkpoints/*/scheduler_state/last_epoch"),
    "SWALR counts its own epochs; Lightning begins it at max_epochs, which it has no use for",
)
_LOOKING_ON: Final = dict.fromkeys(
    (
        "hooks/*",
        "logged/*",
        "csv/*",
        "metrics/*",
        "files/*",
        "checkpoints/*",
        "attributes/global_step",
        "attributes/ModelCheckpoint.best_model_path",
    ),
    "in the epoch for statistics there is neither backward nor a step; Lightning counts one at its end, after which it "
    "saves",
)


_SEARCHED: Final = dict.fromkeys(
    ("attributes/ckpt_path", "attributes/num_training_batches"),
    "a search runs inside of the run, and leaves no trace in it; Lightning shows its file and its loader",
)


def _pruned(**options: Any) -> Make:
    given = {"pruning_fn": "l1_unstructured", "amount": 0.3, "use_lottery_ticket_hypothesis": False, **options}
    return _only("ModelPruning", **given)


def _resume(session: Session) -> None:
    session.fit(max_epochs=1)
    path = session.checkpoint()
    session.fit(ckpt_path=path, max_epochs=3)


def _writer(interval: str) -> Make:
    def made(api: Any) -> list[Any]:
        class Writer(api.callbacks.BasePredictionWriter):  # type: ignore[misc,name-defined]  # the base is a value
            def __init__(self) -> None:
                super().__init__(interval)
                self.written: list[Any] = []

            def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, *given: Any) -> None:
                self.written.append(plain([prediction, given[0], *given[2:]]))

            def write_on_epoch_end(self, trainer: Any, module: Any, predictions: Any, indices: Any) -> None:
                self.written.append(plain([predictions, indices]))

        return [Writer()]

    return made


def _predict(session: Session) -> None:
    session.fit()
    session.evaluate("predict", return_predictions=False)
    (writer,) = (callback for callback in session.trainer.callbacks if hasattr(callback, "written"))
    session.record.returned.append({"written": list(writer.written)})
    writer.written.clear()


def _lr_find(**options: Any) -> Callable[[Session], None]:
    def steps(session: Session) -> None:
        tuning = importlib.import_module(f"{session.api.__name__}.tuner")
        trainer, module = session.new_trainer(watch=False, max_epochs=1000, logger=False), session.new_module()
        module.lr = 0.05
        seed(2)
        found = tuning.Tuner(trainer).lr_find(module, session.loaders()["train"], **options)
        told = {"curve": found.results, "suggestion": found.suggestion(), "lr": module.lr}
        session.record.returned.append(plain(told))

    return steps


MORE_CALLBACKS = (
    *(
        Case(name=f"WeightAveraging: {name}", callbacks=_only("WeightAveraging", **options), explained=_ONCE)
        for name, options in (
            ("plain", {}),
            ("exponential", {"avg_fn": get_ema_avg_fn(0.8)}),
            ("without buffers", {"use_buffers": False}),
        )
    ),
    Case(
        name="EMAWeightAveraging",
        trainer={"max_epochs": 3, "accumulate_grad_batches": 2},
        callbacks=_only("EMAWeightAveraging", decay=0.7, update_every_n_steps=2, update_starting_at_epoch=1),
        explained=_ONCE,
    ),
    Case(name="WeightAveraging, resumed", callbacks=_only("WeightAveraging"), steps=_resume, explained=_ONCE_RESUMED),
    Case(
        name="StochasticWeightAveraging",
        trainer={"max_epochs": 4},
        methods={**_PLAIN, "configure_optimizers": _with_steps},
        callbacks=_only("StochasticWeightAveraging", swa_lrs=0.02, swa_epoch_start=2, annealing_epochs=2),
        explained=_SWALR,
    ),
    Case(
        name="StochasticWeightAveraging, linear, by share",
        trainer={"max_epochs": 5},
        methods=_PLAIN,
        callbacks=_only("StochasticWeightAveraging", swa_lrs=0.02, annealing_strategy="linear"),
    ),
    Case(
        name="StochasticWeightAveraging with BatchNorm",
        trainer={"max_epochs": 3},
        callbacks=_only("StochasticWeightAveraging", swa_lrs=0.02, swa_epoch_start=2),
        explained=_LOOKING_ON,
    ),
    Case(
        name="BackboneFinetuning",
        trainer={"max_epochs": 4},
        methods=_SPLIT,
        callbacks=_only("BackboneFinetuning", unfreeze_backbone_at_epoch=1),
        explained=_FROZEN,
    ),
    Case(
        name="BackboneFinetuning, not aligned",
        trainer={"max_epochs": 4},
        methods=_SPLIT,
        callbacks=_only(
            "BackboneFinetuning", unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.01, should_align=False
        ),
        explained=_FROZEN,
    ),
    *(
        Case(name=f"ModelPruning: {name}", trainer={"max_epochs": 3}, callbacks=_pruned(**options), explained=_MASKS)
        for name, options in (
            ("a share", {}),
            ("by epoch", {"amount": lambda epoch: 4 if epoch else 2}),
            ("each by itself", {"use_global_unstructured": False, "parameter_names": ["weight"]}),
            ("at random", {"pruning_fn": "random_unstructured"}),
            ("at validation's end", {"prune_on_train_epoch_end": False}),
            ("a lottery ticket, once", {"use_lottery_ticket_hypothesis": True, "apply_pruning": lambda e: e == 0}),
        )
    ),
    *(
        Case(name=f"BasePredictionWriter: {interval}", callbacks=_writer(interval), steps=_predict)
        for interval in ("batch", "epoch", "batch_and_epoch")
    ),
    *(
        Case(name=f"lr_find: {name}", steps=_lr_find(**options), hooks=False, explained=_SEARCHED)
        for name, options in (
            ("exponential", {"num_training": 40}),
            ("linear", {"num_training": 40, "mode": "linear", "min_lr": 1e-4, "max_lr": 0.5}),
            ("a loss that grows", {"max_lr": 1e5, "num_training": 60}),
        )
    ),
)
