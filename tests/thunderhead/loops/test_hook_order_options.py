"""What options make of the order of hooks, and what leaves it alone."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.data import DataLoader
from trainer_models import QUIET, regression
from trainer_orders import (
    BEGINNING,
    ENDING,
    EPOCH,
    EPOCH_END,
    LAST,
    VALIDATION,
    batch,
    both,
    evaluation,
    run,
    sanity,
    starting,
)
from trainer_recorder import (
    MODULE_HOOKS,
    Plain,
    recorded_callbacks,
    recorded_module,
    recording,
)

import thunderhead as th
from thunderhead.callbacks import Callback

ONE_EPOCH = [*BEGINNING, *EPOCH, *batch() * 2, *LAST, *VALIDATION, *EPOCH_END, *ENDING]


@pytest.mark.parametrize(
    "arguments",
    [
        {"gradient_clip_val": 1.0},
        {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"},
        {"detect_anomaly": True},
        {"precision": "64-true"},
        {"precision": "bf16-mixed"},
        {"max_steps": 3},
        {"max_time": "00:01:00:00"},
        {"min_epochs": 1, "min_steps": 2},
        {"log_every_n_steps": 1},
        {"overfit_batches": 1.0},
        {"inference_mode": False},
        {"limit_train_batches": 3, "limit_val_batches": 2},
        {"num_sanity_val_steps": -1},
        {"val_check_interval": 1.0},
        {"val_check_interval": 3},
        {"check_val_every_n_epoch": None, "val_check_interval": 3},
        {"reload_dataloaders_every_n_epochs": 2},
        {"use_distributed_sampler": False},
        {"sync_batchnorm": True},
        {
            **dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary")),
            "logger": True,
            "log_every_n_steps": 1,
        },
    ],
)
def test_what_leaves_the_order_alone(arguments: dict[str, Any]) -> None:
    log = run({}, {"max_epochs": 1, **arguments})
    # A file that is saved asks everyone for what is theirs to add.
    assert [name for name in log if "_checkpoint" not in name] == ONE_EPOCH


NEEDED = ("training_step", "train_dataloader", "val_dataloader", "validation_step", "configure_optimizers")


@pytest.mark.parametrize("hook", [name for name in MODULE_HOOKS if name not in NEEDED])
def test_a_hook_that_nobody_overrides_is_missing_and_all_others_stay(hook: str) -> None:
    expected = [name for name in ONE_EPOCH if name != f"m.{hook}"]
    assert run({}, {"max_epochs": 1}, without=(hook,)) == expected


@pytest.mark.filterwarnings("ignore:RecordingBare has no validation_step")
@pytest.mark.parametrize("hook", ["val_dataloader", "validation_step"])
def test_without_validation(hook: str) -> None:
    bare = type("Bare", (Plain,), {hook: getattr(th.LightningModule, hook)})
    log: list[str] = []
    module = recording(bare, "m", [name for name in MODULE_HOOKS if name != hook], log)()
    th.Trainer(**QUIET, max_epochs=1, callbacks=recorded_callbacks(log)).fit(module)
    assert [name for name in log if not name.endswith("state_dict")] == [
        *starting(),
        "m.train_dataloader",
        *both("on_train_start"),
        *[*EPOCH, *batch() * 2, *LAST, *EPOCH_END],
        *ENDING,
    ]


def test_barebones() -> None:
    """No sanity check; everything else is called."""
    log: list[str] = []
    trainer = th.Trainer(accelerator="cpu", barebones=True, max_epochs=1, callbacks=recorded_callbacks(log))
    with pytest.warns(UserWarning, match="records nothing with Trainer"):
        trainer.fit(recorded_module(log, scheduled=False))
    assert [name for name in log if not name.endswith("state_dict")] == [
        *starting(),
        *["m.train_dataloader", "m.val_dataloader", *both("on_train_start")],
        *[*EPOCH, *batch() * 3, *VALIDATION, *EPOCH_END],
        *ENDING,
    ]


def test_validation_inside_an_accumulation_window_keeps_the_gradients() -> None:
    """Only after a step are they cleared before validation."""
    found = run({}, {"max_epochs": 1, "accumulate_grad_batches": 2, "val_check_interval": 1})
    assert found == [
        *BEGINNING,
        *EPOCH,
        *[*batch(steps=False), *evaluation()],
        *[*batch(first=False), *VALIDATION],
        *[*LAST, *VALIDATION],
        *EPOCH_END,
        *ENDING,
    ]


def test_loaders_asked_for_again_in_every_second_epoch() -> None:
    log = run({}, {"max_epochs": 5, "reload_dataloaders_every_n_epochs": 2, "num_sanity_val_steps": 0})
    marks = ("m.train_dataloader", "m.val_dataloader", "m.on_train_epoch_start")
    epoch = "m.on_train_epoch_start"
    again = ["m.train_dataloader", epoch, "m.val_dataloader", epoch]
    assert [name for name in log if name in marks] == [
        *["m.train_dataloader", "m.val_dataloader", epoch, epoch],
        *again[:4],
        *again[:3],
    ]


def test_a_stop_inside_an_epoch_is_followed_by_validation_and_the_epochs_end() -> None:
    log: list[str] = []

    class Stopping(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = True

    trainer = th.Trainer(**QUIET, max_epochs=5, callbacks=[Stopping(), *recorded_callbacks(log)])
    trainer.fit(recorded_module(log))
    assert [name for name in log if not name.endswith("state_dict")] == [
        *BEGINNING,
        *[*EPOCH, *batch(), *VALIDATION, *EPOCH_END],
        *ENDING,
    ]


def test_a_callback_skips_nothing() -> None:
    """Only the module's -1 does."""

    class Minus(Callback):
        def on_train_batch_start(self, *args: Any) -> int:  # type: ignore[override]  # on purpose
            return -1

    trainer = th.Trainer(**QUIET, max_epochs=1, callbacks=[Minus()])
    trainer.fit(Plain())
    assert trainer.global_step == 3


def test_a_closure_called_twice_trains_twice() -> None:
    """As LBFGS does: everything inside the closure comes again, the rest once."""

    class Twice(Plain):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer_closure()
            optimizer.step(closure=optimizer_closure)

    log: list[str] = []
    module = recording(Twice, "m", MODULE_HOOKS, log)()
    arguments = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0}
    th.Trainer(**QUIET, **arguments, callbacks=recorded_callbacks(log)).fit(module)
    closure = ["m.training_step", *both("on_before_zero_grad"), "m.optimizer_zero_grad"]
    closure += [*both("on_before_backward"), "m.backward", *both("on_after_backward")]
    start = log.index("m.optimizer_step")
    assert log[start : start + 2 * len(closure) + 6] == [
        *["m.optimizer_step", *closure, *closure],
        *[
            *both("on_before_optimizer_step"),
            "m.configure_gradient_clipping",
            "m.clip_gradients",
            "m.lr_scheduler_step",
        ],
    ]


@pytest.mark.parametrize(("fn", "hook"), [("validate", "val"), ("test", "test"), ("predict", "predict")])
def test_several_loaders(fn: str, hook: str) -> None:
    kind = {"validate": "validation"}.get(fn, fn)
    batches = evaluation(kind)[5:-4]
    log = run({}, {}, fn, dataloaders=[DataLoader(regression(24), batch_size=12) for _ in range(2)])
    assert log == [
        *starting(()),
        *evaluation(kind)[:5],
        *batches * 2,
        *both(f"on_{kind}_epoch_end", f"on_{kind}_end", "teardown"),
    ]


class Modes(Plain):
    """Takes care of its modes itself."""

    def on_validation_model_train(self) -> None:
        """Into training mode."""
        self.train()

    on_test_model_train = on_predict_model_train = on_validation_model_train


@pytest.mark.parametrize(("fn", "kind"), [("validate", "validation"), ("test", "test"), ("predict", "predict")])
def test_modes_are_restored_by_the_module_where_it_says_how(fn: str, kind: str) -> None:
    log: list[str] = []
    hooks = [*MODULE_HOOKS, *(f"on_{name}_model_train" for name in ("validation", "test", "predict"))]
    for base, trains in ((Plain, False), (Modes, True)):
        log.clear()
        module = recording(base, "m", hooks if trains else MODULE_HOOKS, log)()
        module.layer.eval()
        getattr(th.Trainer(**QUIET), fn)(module)
        end = log.index(f"m.on_{kind}_end") + 1
        assert log[end] == (f"m.on_{kind}_model_train" if trains else "m.teardown")
        assert (module.training, module.layer.training) == (True, trains)


def test_a_limit_of_zero_sanity_batches_is_no_check() -> None:
    assert not [name for name in run({}, {"max_epochs": 1, "num_sanity_val_steps": 0}) if "sanity" in name]
    expected = sanity(["m.val_dataloader", *evaluation(batches=1)])
    log = run({}, {"max_epochs": 1, "num_sanity_val_steps": 1})
    start = log.index("cb.on_sanity_check_start")
    assert log[start : start + len(expected)] == expected
