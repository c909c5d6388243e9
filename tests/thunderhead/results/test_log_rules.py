"""Where ``self.log`` may be called, with which arguments, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_logging import Module, Records, fit
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th

# Records of one epoch of three batches with an evaluation of two: a record per batch, or one per epoch.
PER_BATCH, PER_EPOCH = 3, 1
MAY_LOG = {
    "on_train_start": PER_EPOCH,
    "on_train_epoch_start": PER_EPOCH,
    "on_train_batch_start": PER_BATCH,
    "training_step": PER_BATCH,
    "on_before_zero_grad": PER_BATCH,
    "optimizer_zero_grad": PER_BATCH,
    "on_before_backward": PER_BATCH,
    "backward": PER_BATCH,
    "on_after_backward": PER_BATCH,
    "on_before_optimizer_step": PER_BATCH,
    "optimizer_step": PER_BATCH,
    "configure_gradient_clipping": PER_BATCH,
    "clip_gradients": PER_BATCH,
    "on_train_batch_end": PER_BATCH,
    "on_train_epoch_end": PER_EPOCH,
    "on_validation_start": PER_EPOCH,
    "on_validation_epoch_start": PER_EPOCH,
    "on_validation_batch_start": PER_EPOCH,
    "validation_step": PER_EPOCH,
    "on_validation_batch_end": PER_EPOCH,
    "on_validation_epoch_end": PER_EPOCH,
    "on_test_start": PER_EPOCH,
    "on_test_epoch_start": PER_EPOCH,
    "on_test_batch_start": PER_EPOCH,
    "test_step": PER_EPOCH,
    "on_test_batch_end": PER_EPOCH,
    "on_test_epoch_end": PER_EPOCH,
}
WITHOUT_STEPS = [name for name in MAY_LOG if name.endswith("_start") and "batch" not in name] + [
    name for name in MAY_LOG if name.endswith("_epoch_end")
]
MAY_NOT_LOG = [
    *("on_fit_start", "on_fit_end", "on_train_end", "on_validation_end", "on_test_end"),
    *("on_predict_start", "on_predict_epoch_start", "on_predict_batch_start", "predict_step"),
    *("on_predict_batch_end", "on_predict_epoch_end", "on_predict_end", "on_predict_model_eval"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
    *("prepare_data", "setup", "teardown", "configure_model", "configure_optimizers", "configure_callbacks"),
    *("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"),
    *("on_validation_model_zero_grad", "on_validation_model_eval", "on_validation_model_train"),
    *("on_test_model_eval", "on_test_model_train", "lr_scheduler_step", "on_save_checkpoint", "on_load_checkpoint"),
]
CALLBACK_MAY_NOT_LOG = ["on_sanity_check_start", "on_sanity_check_end", "on_exception", "on_train_end", "setup"]


class Everything(Module):
    """All loops, with a scheduler."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Nothing."""

    predict_dataloader = Module.val_dataloader

    def configure_optimizers(self) -> Any:
        """SGD with a scheduler."""
        optimizer = torch.optim.SGD(self.parameters(), 0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def logging_in(base: type, hook: str, options: dict[str, Any]) -> Any:
    """An object of a class that logs in ``hook``, then does what its base does."""

    def log(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.log("a", 1.0, **options)
        return getattr(super(made, self), hook)(*args, **kwargs)

    made = type("Logging", (base,), {hook: log})
    return made()


def through(path: Path, module: Any, *callbacks: th.Callback, fails: bool = False) -> list[Any]:
    """All entry points once, with a file saved and loaded; the records with ``a``."""
    records = Records()
    loggers = {**QUIET, "logger": records, "max_epochs": 1, "log_every_n_steps": 1}
    trainer = th.Trainer(**loggers, callbacks=list(callbacks))
    trainer.fit(module)
    trainer.save_checkpoint(path / "a.ckpt")
    trainer.fit(module, ckpt_path=path / "a.ckpt")
    trainer.test(module, verbose=False)
    trainer.predict(module)
    if fails:
        th.Trainer(**loggers, callbacks=list(callbacks)).fit(Failing())
    return [values for _, values in records.seen if "a" in values]


class Failing(Everything):
    """Fails in its first batch."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Fail."""
        raise ZeroDivisionError


@pytest.mark.parametrize("hook", MAY_LOG)
def test_defaults_by_hook(tmp_path: Path, hook: str) -> None:
    assert len(through(tmp_path, logging_in(Everything, hook, {}))) == MAY_LOG[hook]
    if hasattr(th.Callback, hook):
        callback = logging_in(th.Callback, hook, {})
        assert len(through(tmp_path, Everything(), callback)) == MAY_LOG[hook]


@pytest.mark.parametrize("hook", WITHOUT_STEPS)
@pytest.mark.parametrize("options", [{"on_step": True}, {"on_epoch": False}])
def test_hooks_without_steps(tmp_path: Path, hook: str, options: dict[str, Any]) -> None:
    with pytest.raises(th.MisconfigurationException, match=f"inside {hook}, which has no steps"):
        through(tmp_path, logging_in(Everything, hook, options))


@pytest.mark.parametrize("hook", sorted(set(MAY_LOG) - set(WITHOUT_STEPS)))
def test_neither_step_nor_epoch(tmp_path: Path, hook: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=r"on_step=False, on_epoch=False\) would record nothing"):
        through(tmp_path, logging_in(Everything, hook, {"on_step": False, "on_epoch": False}))


@pytest.mark.parametrize("hook", MAY_NOT_LOG)
def test_hooks_that_cannot_log_say_so(tmp_path: Path, hook: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=f"self.log cannot be used inside {hook}"):
        through(tmp_path, logging_in(Everything, hook, {}))


@pytest.mark.parametrize("hook", [hook for hook in CALLBACK_MAY_NOT_LOG if hook != "on_exception"])
def test_callbacks_that_cannot_log_say_so(tmp_path: Path, hook: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=f"self.log cannot be used inside {hook}"):
        through(tmp_path, Everything(), logging_in(th.Callback, hook, {}), fails=True)


def test_the_error_that_a_callback_cannot_log_is_told_with_why(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        through(tmp_path, Everything(), logging_in(th.Callback, "on_exception", {}), fails=True)
    assert "self.log cannot be used inside on_exception" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2), r"a tensor of shape \(2,\)"),
        ("0.5", "a str"),
        ({"a": 1}, "got a dict; use self.log_dict"),
        ([1.0], "a list"),
    ],
)
def test_values_must_be_one_number(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(Module(lambda module, _: module.log("a", value)))


def test_a_later_value_must_be_a_number_too() -> None:
    def log(module: Module, value: float) -> None:
        module.log("a", torch.tensor(1.0) if value < 2 else torch.ones(3))

    with pytest.raises(ValueError, match=r"'a'.*a tensor of shape \(3,\)"):
        fit(Module(log))


def test_other_arguments_for_the_same_name_are_refused() -> None:
    def log(module: Module, value: float) -> None:
        module.log("a", value, on_epoch=True)
        module.log("a", value, on_epoch=True, prog_bar=True)

    with pytest.raises(th.MisconfigurationException, match="prog_bar: False then True"):
        fit(Module(log))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a/dataloader_idx_3", {}, "the suffix /dataloader_idx_N is added for you"),
        ("a", {"reduce_fx": "median"}, "none of mean, sum, min, max"),
        ("a", {"reduce_fx": torch.median}, r"reduce_fx=<built-in method median.*log a torchmetrics.Metric"),
    ],
)
def test_arguments_that_cannot_be(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=message):
        fit(Module(lambda module, value: module.log(name, value, **options)))


def test_a_name_is_a_string() -> None:
    class Swapped(Net):
        def on_train_epoch_end(self) -> None:
            self.log(1, "x")  # type: ignore[arg-type]  # on purpose

    with pytest.raises(th.MisconfigurationException, match=r"self.log\(1, ...\): a name is a string"):
        th.Trainer(**QUIET, max_epochs=1).fit(Swapped(), shuffled(batch_size=20), in_order())
