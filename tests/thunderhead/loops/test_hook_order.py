"""Every hook of every entry point, in the order of the contract.

``cb.`` is a callback, ``m.`` the module, ``dm.`` a datamodule; ``both`` means callback first, then module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trainer_models import QUIET
from trainer_orders import (
    BEGINNING,
    ENDING,
    EPOCH,
    EPOCH_END,
    LAST,
    TRANSFER,
    VALIDATION,
    batch,
    both,
    evaluation,
    run,
    sanity,
    starting,
)
from trainer_recorder import TRANSFER_HOOKS, recorded_callbacks, recorded_data, recorded_module

import thunderhead as th

EVERY_SECOND_BATCH = [
    *batch(),
    *batch(),
    *VALIDATION,
    *LAST,
    *EPOCH_END,
]

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "two epochs": (
        {},
        {"max_epochs": 2},
        [*BEGINNING, *([*EPOCH, *batch() * 2, *LAST, *VALIDATION, *EPOCH_END] * 2), *ENDING],
    ),
    "no sanity check: validation loads its data before training": (
        {},
        {"max_epochs": 1, "num_sanity_val_steps": 0},
        [
            *starting(),
            "m.train_dataloader",
            "m.val_dataloader",
            *both("on_train_start"),
            *[*EPOCH, *batch() * 2, *LAST, *VALIDATION, *EPOCH_END],
            *ENDING,
        ],
    ),
    "no validation": (
        {},
        {"max_epochs": 1, "limit_val_batches": 0},
        [*starting(), "m.train_dataloader", *both("on_train_start"), *EPOCH, *batch() * 2, *LAST, *EPOCH_END, *ENDING],
    ),
    "no training": (
        {},
        {"max_epochs": 1, "limit_train_batches": 0},
        [*starting(), *sanity(["m.val_dataloader", *evaluation()]), *both("on_fit_end", "teardown")],
    ),
    "no epochs": (
        {},
        {"max_epochs": 0},
        [
            *starting(),
            *sanity(["m.val_dataloader", *evaluation()]),
            "m.train_dataloader",
            *both("on_fit_end", "teardown"),
        ],
    ),
    "accumulation: the last batch steps, whatever its number": (
        {},
        {"max_epochs": 1, "accumulate_grad_batches": 2},
        [
            *BEGINNING,
            *EPOCH,
            *[*batch(steps=False), *batch(first=False), *LAST],
            *VALIDATION,
            *EPOCH_END,
            *ENDING,
        ],
    ),
    "scheduler by step": (
        {"interval": "step"},
        {"max_epochs": 1},
        [*BEGINNING, *EPOCH, *LAST * 3, *VALIDATION, *EPOCH_END, *ENDING],
    ),
    "plateau by step waits for validation": (
        {"interval": "step", "plateau": True},
        {"max_epochs": 1},
        [
            *BEGINNING,
            *EPOCH,
            *[*batch(), "m.lr_scheduler_step"] * 2,
            *[*batch(), *VALIDATION, "m.lr_scheduler_step"],
            *EPOCH_END,
            *ENDING,
        ],
    ),
    "plateau by epoch comes after the epoch's end": (
        {"plateau": True},
        {"max_epochs": 1},
        [*BEGINNING, *EPOCH, *batch() * 3, *VALIDATION, *EPOCH_END, "m.lr_scheduler_step", *ENDING],
    ),
    "validation after every second batch of an epoch": (
        {},
        {"max_epochs": 2, "val_check_interval": 2},
        [*BEGINNING, *[*EPOCH, *EVERY_SECOND_BATCH] * 2, *ENDING],
    ),
    "validation after every second batch of the run": (
        {},
        {"max_epochs": 2, "val_check_interval": 2, "check_val_every_n_epoch": None},
        [
            *BEGINNING,
            *[*EPOCH, *EVERY_SECOND_BATCH],
            *[*EPOCH, *batch(), *VALIDATION, *batch(), *LAST, *VALIDATION, *EPOCH_END],
            *ENDING,
        ],
    ),
    "validation in every second epoch": (
        {},
        {"max_epochs": 2, "check_val_every_n_epoch": 2},
        [
            *BEGINNING,
            *[*EPOCH, *batch() * 2, *LAST, *EPOCH_END],
            *[*EPOCH, *batch() * 2, *LAST, *VALIDATION, *EPOCH_END],
            *ENDING,
        ],
    ),
    "max_steps in the middle of an epoch": (
        {},
        {"max_steps": 4, "max_epochs": -1},
        [
            *BEGINNING,
            *[*EPOCH, *batch() * 2, *LAST, *VALIDATION, *EPOCH_END],
            *[*EPOCH, *batch(), *EPOCH_END],
            *ENDING,
        ],
    ),
    "one batch of everything": (
        {},
        {"fast_dev_run": True},
        [
            *starting(),
            "m.train_dataloader",
            "m.val_dataloader",
            *both("on_train_start"),
            *[*EPOCH, *LAST, "m.on_validation_model_zero_grad", "m.zero_grad", *evaluation(batches=1), *EPOCH_END],
            *ENDING,
        ],
    ),
    "loaders asked for again in each epoch": (
        {},
        {"max_epochs": 2, "reload_dataloaders_every_n_epochs": 1},
        [
            *BEGINNING,
            *[*EPOCH, *batch() * 2, *LAST, *VALIDATION, *EPOCH_END],
            "m.train_dataloader",
            *[*EPOCH, *batch() * 2, *LAST],
            *["m.on_validation_model_zero_grad", "m.zero_grad", "m.val_dataloader", *evaluation()],
            *EPOCH_END,
            *ENDING,
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fit(case: str) -> None:
    module, arguments, expected = CASES[case]
    assert run(module, arguments) == expected


def test_manual_optimisation() -> None:
    """No optimizer hook of the automatic way, no clipping, no schedulers; backward and step announce themselves."""
    manual = [
        *TRANSFER,
        *both("on_train_batch_start"),
        "m.training_step",
        *both("on_before_backward"),
        "m.backward",
        *both("on_after_backward", "on_before_optimizer_step", "on_train_batch_end"),
    ]
    assert run({"manual": True}, {"max_epochs": 1}) == [
        *BEGINNING,
        *[*EPOCH, *manual * 3, *VALIDATION, *EPOCH_END],
        *ENDING,
    ]


def test_two_validation_loaders() -> None:
    one = [*TRANSFER, *both("on_validation_batch_start"), "m.validation_step", *both("on_validation_batch_end")]
    two = [
        "m.on_validation_model_eval",
        *both("on_validation_start", "on_validation_epoch_start"),
        *one * 4,
        *both("on_validation_epoch_end", "on_validation_end"),
    ]
    log = run({"loaders": 2}, {"max_epochs": 1})
    start = log.index("m.on_validation_model_zero_grad")
    assert log[start:] == ["m.on_validation_model_zero_grad", "m.zero_grad", *two, *EPOCH_END, *ENDING]


def test_callbacks_that_watch_a_metric_come_after_the_module() -> None:
    """Only at the end of a training epoch; elsewhere saving callbacks are last among callbacks."""
    log = run({}, {"max_epochs": 1}, monitors=True)
    end = log.index("cb.on_train_epoch_end")
    assert log[end : end + 4] == [
        "cb.on_train_epoch_end",
        "m.on_train_epoch_end",
        "stop.on_train_epoch_end",
        "save.on_train_epoch_end",
    ]
    start = log.index("cb.on_fit_start")
    assert log[start : start + 3] == ["cb.on_fit_start", "save.on_fit_start", "m.on_fit_start"]
    last = len(log) - log[::-1].index("cb.on_validation_end") - 1
    assert log[last - 1 : last + 3] == [
        "stop.on_validation_end",
        "cb.on_validation_end",
        "save.on_validation_end",
        "m.on_validation_end",
    ]


def test_a_datamodule_goes_first_and_brings_data_and_transfer() -> None:
    log = run({}, {"max_epochs": 1}, datamodule=True)
    transfer = [name.replace("m.", "dm.") for name in TRANSFER]
    validation = evaluation(transfer=transfer)
    assert log == [
        "m.configure_callbacks",
        *["dm.prepare_data", "m.prepare_data"],
        *["dm.setup", *both("setup")],
        "m.configure_model",
        "m.configure_optimizers",
        *both("on_fit_start"),
        "m.zero_grad",
        *sanity(["dm.val_dataloader", *validation]),
        "dm.train_dataloader",
        *both("on_train_start"),
        *EPOCH,
        *batch(transfer=transfer) * 2,
        *batch(transfer=transfer, schedulers=1),
        *["m.on_validation_model_zero_grad", "m.zero_grad", *validation],
        *EPOCH_END,
        *both("on_train_end", "on_fit_end"),
        *["dm.teardown", *both("teardown")],
    ]


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_evaluation_entry_points(fn: str) -> None:
    kind = {"validate": "validation"}.get(fn, fn)
    hook = {"validate": "val"}.get(fn, fn)
    assert run({}, {}, fn) == [*starting(()), f"m.{hook}_dataloader", *evaluation(kind), *both("teardown")]


def test_saving_and_resuming(tmp_path: Path) -> None:
    log: list[str] = []
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=recorded_callbacks(log))
    trainer.fit(recorded_module(log, tuple(TRANSFER_HOOKS)), datamodule=recorded_data(log))
    log.clear()
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    assert log == ["m.state_dict", "cb.state_dict", "dm.state_dict", *both("on_save_checkpoint")]

    log.clear()
    trainer = th.Trainer(**QUIET, max_epochs=2, callbacks=recorded_callbacks(log))
    module = recorded_module(log, tuple(TRANSFER_HOOKS))
    trainer.fit(module, datamodule=recorded_data(log), ckpt_path=tmp_path / "one.ckpt")
    start = log.index("m.configure_model")
    assert log[start : start + 7] == [
        "m.configure_model",
        "m.on_load_checkpoint",
        "m.load_state_dict",
        "dm.load_state_dict",
        "cb.on_load_checkpoint",
        "m.configure_optimizers",
        "cb.on_fit_start",
    ]
    assert log.count("m.training_step") == 3


def test_a_skipped_epoch_ends_properly() -> None:
    """-1 from on_train_batch_start skips the rest: no step, but the epoch's schedulers, and its end."""
    log: list[str] = []
    module = recorded_module(log)
    counted = {"batches": 0}
    original = type(module).on_train_batch_start

    def skip_second(self: Any, batch: Any, batch_idx: int) -> int | None:
        original(self, batch, batch_idx)
        counted["batches"] += 1
        return -1 if batch_idx == 1 else None

    type(module).on_train_batch_start = skip_second  # type: ignore[method-assign,assignment]
    trainer = th.Trainer(**QUIET, max_epochs=1, limit_val_batches=0, callbacks=recorded_callbacks(log))
    trainer.fit(module)
    start = log.index("cb.on_train_epoch_start")
    assert [name for name in log[start:] if not name.endswith("state_dict")] == [
        *EPOCH,
        *batch(),
        *[*TRANSFER, *both("on_train_batch_start"), "m.lr_scheduler_step"],
        *EPOCH_END,
        *ENDING,
    ]
    assert (counted["batches"], trainer.global_step, trainer.current_epoch) == (2, 1, 1)


def test_an_exception_reaches_callbacks_and_datamodule() -> None:
    log: list[str] = []
    module = recorded_module(log, tuple(TRANSFER_HOOKS))
    type(module).on_after_backward = lambda self: 1 / 0  # type: ignore[method-assign]
    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=recorded_callbacks(log))
    with pytest.raises(ZeroDivisionError):
        trainer.fit(module, datamodule=recorded_data(log))
    assert log[-2:] == ["cb.on_exception", "dm.on_exception"]
    assert trainer.interrupted


def test_hooks_added_during_a_run_are_called_from_the_next_stage_on() -> None:
    log: list[str] = []

    class Late(th.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            log.append("late")

    class Adding(th.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 0:
                trainer.callbacks.append(Late())

    trainer = th.Trainer(**QUIET, max_epochs=3, limit_val_batches=0, callbacks=[Adding()])
    trainer.fit(recorded_module([]))
    assert log == ["late", "late"]
