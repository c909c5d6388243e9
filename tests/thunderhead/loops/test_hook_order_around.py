"""Who else is called between the hooks: the module's callbacks, loggers, samplers; and what an exception leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Sampler
from trainer_models import QUIET, regression
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
    """Module, datamodule, then the callbacks, for each entry point: each hook before the state."""

    def made(log: list[str]) -> th.Trainer:
        return th.Trainer(**QUIET, max_epochs=2, callbacks=[recording(Kept, "cb", CALLBACK_HOOKS, log)()])

    first = made([])
    first.fit(without_transfer([]), datamodule=recorded_data([]))
    first.save_checkpoint(tmp_path / "a.ckpt")
    log: list[str] = []
    getattr(made(log), fn)(without_transfer(log), datamodule=recorded_data(log), ckpt_path=tmp_path / "a.ckpt")
    start = log.index("m.configure_model") + 1
    restored = ["m.on_load_checkpoint", "m.load_state_dict", "dm.load_state_dict"]
    restored += ["cb.on_load_checkpoint", "cb.load_state_dict"]
    expected = [*restored, "m.configure_optimizers" if fn == "fit" else "m.zero_grad"]
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

    def save(self) -> None:
        """Write out."""
        self._seen.append("logger.save")

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
        ("m.on_fit_start", "logger.save"),
        ("m.on_train_batch_end", "logger.log_metrics ['epoch', 'train_loss']"),
        ("m.on_validation_epoch_end", "logger.log_metrics ['epoch', 'val_loss']"),
        ("m.on_validation_epoch_end", "logger.save"),
        ("m.on_train_epoch_end", "logger.save"),
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
    options = {**QUIET, "logger": Noting(log), "max_epochs": 1, "log_every_n_steps": 1}
    trainer = th.Trainer(**options, callbacks=callbacks)
    with pytest.raises(error):
        getattr(trainer, fn)(without_transfer(log), datamodule=recorded_data(log))
    assert log[log.index("failed") :] == ["failed", "cb.on_exception", "dm.on_exception", "logger.finalize failed"]
    assert trainer.interrupted


def test_transfer_hooks_of_both_are_those_of_the_datamodule_with_a_word() -> None:
    log: list[str] = []
    trainer = th.Trainer(**QUIET, callbacks=recorded_callbacks(log))
    with pytest.warns(UserWarning, match="is overridden in the module and in the datamodule; the datamodule's") as said:
        trainer.validate(recorded_module(log), datamodule=recorded_data(log), verbose=False)
    assert [str(one.message).split()[0] for one in said] == TRANSFER_HOOKS
    assert [name for name in log if "transfer" in name] == [f"dm.{name}" for name in TRANSFER_HOOKS] * 2
