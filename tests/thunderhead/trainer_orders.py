"""Orders of hooks, put together from the contract's parts.

``cb.`` is a callback, ``m.`` the module, ``dm.`` a datamodule; ``both`` means callback first, then module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer_models import QUIET
from trainer_recorder import TRANSFER_HOOKS, recorded_callbacks, recorded_data, recorded_module

import thunderhead as th

TRANSFER = ["m.on_before_batch_transfer", "m.transfer_batch_to_device", "m.on_after_batch_transfer"]


def both(*names: str) -> list[str]:
    """Callback, then module, for each hook."""
    return [f"{who}.{name}" for name in names for who in ("cb", "m")]


def starting(stage: Sequence[str] = ("m.configure_optimizers", *both("on_fit_start"))) -> list[str]:
    """From the entry point to the loop."""
    return ["m.configure_callbacks", "m.prepare_data", *both("setup"), "m.configure_model", *stage, "m.zero_grad"]


def batch(
    *, first: bool = True, steps: bool = True, clip: bool = False, schedulers: int = 0, transfer: list[str] = TRANSFER
) -> list[str]:
    """One training batch."""
    order = [*transfer, *both("on_train_batch_start")]
    order += ["m.optimizer_step"] if steps else []
    order += ["m.training_step"]
    order += [*both("on_before_zero_grad"), "m.optimizer_zero_grad"] if first else []
    order += [*both("on_before_backward"), "m.backward", *both("on_after_backward")]
    order += [*both("on_before_optimizer_step"), "m.configure_gradient_clipping", "m.clip_gradients"] if steps else []
    return [*order, *["m.lr_scheduler_step"] * schedulers, *both("on_train_batch_end")]


def evaluation(kind: str = "validation", batches: int = 2, transfer: list[str] = TRANSFER) -> list[str]:
    """One evaluation of one loader."""
    one = [*transfer, *both(f"on_{kind}_batch_start"), f"m.{kind}_step", *both(f"on_{kind}_batch_end")]
    return [
        f"m.on_{kind}_model_eval",
        *both(f"on_{kind}_start", f"on_{kind}_epoch_start"),
        *one * batches,
        *both(f"on_{kind}_epoch_end", f"on_{kind}_end"),
    ]


def sanity(order: list[str]) -> list[str]:
    """A sanity check around an evaluation."""
    return ["cb.on_sanity_check_start", *order, "cb.on_sanity_check_end"]


VALIDATION = ["m.on_validation_model_zero_grad", "m.zero_grad", *evaluation()]
ENDING = [*both("on_train_end", "on_fit_end", "teardown")]
EPOCH = both("on_train_epoch_start")
EPOCH_END = both("on_train_epoch_end")
BEGINNING = [
    *starting(),
    *sanity(["m.val_dataloader", *evaluation()]),
    "m.train_dataloader",
    *both("on_train_start"),
]
LAST = batch(schedulers=1)


def run(
    module: dict[str, Any], arguments: dict[str, Any], fn: str = "fit", without: tuple[str, ...] = (), **options: Any
) -> list[str]:
    """The hooks of one entry point; those in ``without`` the module does not override."""
    log: list[str] = []
    monitors = options.pop("monitors", False)
    quiet = {**QUIET, "enable_checkpointing": None} if monitors else QUIET
    callbacks = recorded_callbacks(log, monitors=monitors)
    trainer = th.Trainer(**{**quiet, **arguments}, callbacks=callbacks)
    data = recorded_data(log) if options.pop("datamodule", False) else None
    without += tuple(TRANSFER_HOOKS) if data is not None else ()
    getattr(trainer, fn)(recorded_module(log, without, **module), datamodule=data, **options)
    return [name for name in log if not name.endswith("state_dict")]
