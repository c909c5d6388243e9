"""What options make of the order of hooks, and what leaves it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Sampler
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
    CALLBACK_HOOKS,
    MODULE_HOOKS,
    TRANSFER_HOOKS,
    Plain,
    recorded_callbacks,
    recorded_data,
    recorded_module,
    recording,
)

import thunderhead as th
from thunderhead.callbacks import Callback
from thunderhead.loggers import Logger

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
        {"enable_checkpointing": None, "logger": True, "enable_progress_bar": None, "enable_model_summary": None},
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


# --- callbacks, loggers, samplers ------------------------------------------------------------------------------------


def test_callbacks_of_the_module_come_after_the_trainers_and_replace_those_of_their_type() -> None:
    log: list[str] = []
    kinds = [recording(Callback, name, CALLBACK_HOOKS, log) for name in "abc"]
    for number, kind in enumerate(kinds):
        kind.state_key = str(number)  # type: ignore[attr-defined]  # recorded state needs names of its own

    class Bringing(Plain):
        def configure_callbacks(self) -> Any:
            return [kinds[1](), kinds[2]()]

    trainer = th.Trainer(**QUIET, max_epochs=1, limit_val_batches=0, callbacks=[kinds[1](), kinds[0]()])
    trainer.fit(Bringing())
    assert [type(callback) for callback in trainer.callbacks] == kinds
    for hook in ("setup", "on_fit_start", "on_train_epoch_end", "teardown"):
        assert [name for name in log if name.endswith(f".{hook}")] == [f"{name}.{hook}" for name in "abc"]
    assert trainer.callbacks[1].log is not None  # type: ignore[attr-defined]  # attached to each


def without_transfer(log: list[str]) -> th.LightningModule:
    """A module that leaves the transfer to the datamodule."""
    return recorded_module(log, tuple(TRANSFER_HOOKS))


class Kept(Callback):
    """With state."""

    def state_dict(self) -> dict[str, Any]:
        """Something."""
        return {"kept": 1}


@pytest.mark.parametrize("fn", ["fit", "validate", "test", "predict"])
def test_a_checkpoint_is_put_back_after_the_model_is_configured(tmp_path: Path, fn: str) -> None:
    """Module, datamodule, then for fit the callbacks: each hook before the state."""

    def made(log: list[str]) -> th.Trainer:
        return th.Trainer(**QUIET, max_epochs=2, callbacks=[recording(Kept, "cb", CALLBACK_HOOKS, log)()])

    first = made([])
    first.fit(without_transfer([]), datamodule=recorded_data([]))
    first.save_checkpoint(tmp_path / "a.ckpt")
    log: list[str] = []
    getattr(made(log), fn)(without_transfer(log), datamodule=recorded_data(log), ckpt_path=tmp_path / "a.ckpt")
    start = log.index("m.configure_model") + 1
    restored = ["m.on_load_checkpoint", "m.load_state_dict", "dm.load_state_dict"]
    if fn == "fit":
        expected = [*restored, "cb.on_load_checkpoint", "cb.load_state_dict", "m.configure_optimizers"]
    else:
        expected = [*restored, "m.zero_grad"]
    assert log[start : start + len(expected)] == expected


class Noting(Logger):
    """Writes down what is asked of it."""

    name = "noting"
    version = 0

    def __init__(self, log: list[str]) -> None:
        self._seen = log

    @property
    def experiment(self) -> None:
        """What loggers make on rank 0."""
        self._seen.append("logger.experiment")

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Which."""
        self._seen.append(f"logger.log_metrics {sorted(metrics)}")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters."""
        self._seen.append(f"logger.log_hyperparams {dict(params)}")

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """The graph."""
        self._seen.append("logger.log_graph")

    def finalize(self, status: str) -> None:
        """The end."""
        self._seen.append(f"logger.finalize {status}")


class Parametrised(Plain):
    """With hyperparameters."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()


def test_when_loggers_are_asked() -> None:
    log: list[str] = []
    trainer = th.Trainer(
        **{**QUIET, "logger": Noting(log)}, max_epochs=1, log_every_n_steps=3, callbacks=recorded_callbacks(log)
    )
    trainer.fit(recording(Parametrised, "m", MODULE_HOOKS, log)())
    around = []
    for index, name in enumerate(log):
        if name.startswith("logger"):
            before = next(n for n in log[index::-1] if not n.startswith("logger"))
            around.append((before, name))
    assert around == [
        ("m.prepare_data", "logger.experiment"),
        ("m.on_fit_start", "logger.log_hyperparams {'rate': 0.5}"),
        ("m.on_fit_start", "logger.log_graph"),
        ("m.on_train_batch_end", "logger.log_metrics ['epoch', 'train_loss']"),
        ("m.on_validation_epoch_end", "logger.log_metrics ['epoch', 'val_loss']"),
        ("m.teardown", "logger.finalize success"),
    ]


def test_samplers_hear_of_an_epoch_before_anyone_else() -> None:
    log: list[str] = []

    class Knowing(Sampler[int]):
        def set_epoch(self, epoch: int) -> None:
            log.append(f"set_epoch {epoch}")

        def __iter__(self) -> Any:
            return iter(range(24))

        def __len__(self) -> int:
            return 24

    trainer = th.Trainer(**QUIET, max_epochs=2, limit_val_batches=0, callbacks=recorded_callbacks(log))
    trainer.fit(Plain(), DataLoader(regression(24), batch_size=8, sampler=Knowing()))
    marks = ("set_epoch 0", "set_epoch 1", "cb.on_train_start", "cb.on_train_epoch_start", "cb.on_train_epoch_end")
    assert [name for name in log if name in marks] == [
        "cb.on_train_start",
        *("set_epoch 0", "cb.on_train_epoch_start", "cb.on_train_epoch_end"),
        *("set_epoch 1", "cb.on_train_epoch_start", "cb.on_train_epoch_end"),
    ]


# --- exceptions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize(
    ("fn", "hook"),
    [
        ("fit", "setup"),
        ("fit", "on_sanity_check_start"),
        ("fit", "on_train_start"),
        ("fit", "on_before_backward"),
        ("fit", "on_validation_end"),
        ("fit", "on_train_end"),
        ("fit", "on_fit_end"),
        ("validate", "on_validation_batch_end"),
        ("test", "on_test_start"),
        ("predict", "on_predict_epoch_end"),
    ],
)
def test_an_exception_anywhere(error: type[BaseException], fn: str, hook: str) -> None:
    """Nothing comes after it but on_exception of callbacks, then of the datamodule, and failed loggers: no teardown."""
    log: list[str] = []

    class Fails(Callback):
        pass

    def fail(self: Any, *args: Any) -> None:
        log.append("failed")
        raise error

    setattr(Fails, hook, fail)
    callbacks = [*recorded_callbacks(log), Fails()]
    trainer = th.Trainer(**{**QUIET, "logger": Noting(log)}, max_epochs=1, callbacks=callbacks)
    with pytest.raises(error):
        getattr(trainer, fn)(without_transfer(log), datamodule=recorded_data(log))
    assert log[log.index("failed") :] == ["failed", "cb.on_exception", "dm.on_exception", "logger.finalize failed"]
    assert trainer.interrupted


def test_a_limit_of_zero_sanity_batches_is_no_check() -> None:
    assert not [name for name in run({}, {"max_epochs": 1, "num_sanity_val_steps": 0}) if "sanity" in name]
    expected = sanity(["m.val_dataloader", *evaluation(batches=1)])
    log = run({}, {"max_epochs": 1, "num_sanity_val_steps": 1})
    start = log.index("cb.on_sanity_check_start")
    assert log[start : start + len(expected)] == expected


def test_transfer_hooks_of_both_are_those_of_the_datamodule_with_a_word() -> None:
    log: list[str] = []
    trainer = th.Trainer(**QUIET, callbacks=recorded_callbacks(log))
    with pytest.warns(UserWarning, match="is overridden in the module and in the datamodule; the datamodule's") as said:
        trainer.validate(recorded_module(log), datamodule=recorded_data(log), verbose=False)
    assert [str(one.message).split()[0] for one in said] == TRANSFER_HOOKS
    assert [name for name in log if "transfer" in name] == [f"dm.{name}" for name in TRANSFER_HOOKS] * 2
