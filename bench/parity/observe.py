"""Modules, datamodules, callbacks and a logger that write down what is done with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from bench.parity.record import Record, arguments, described, plain

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")
TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
BOTH = tuple(
    f"on_{name}"
    for name in (
        *(f"{stage}_{moment}" for stage in ("fit", "train") for moment in ("start", "end")),
        "train_epoch_start",
        "train_epoch_end",
        "train_batch_start",
        "train_batch_end",
        *(
            f"{stage}_{moment}"
            for stage in ("validation", "test", "predict")
            for moment in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")
        ),
        "before_zero_grad",
        "before_backward",
        "after_backward",
        "before_optimizer_step",
        "save_checkpoint",
        "load_checkpoint",
    )
)
OF_MODULE = (
    *BOTH,
    *TRANSFER,
    *STEPS,
    *LOADERS,
    "prepare_data",
    "setup",
    "teardown",
    "configure_callbacks",
    "configure_model",
    "configure_optimizers",
    "configure_gradient_clipping",
    "clip_gradients",
    "optimizer_step",
    "optimizer_zero_grad",
    "lr_scheduler_step",
    "backward",
    "zero_grad",
    *(f"on_{stage}_model_{what}" for stage in ("validation", "test", "predict") for what in ("eval", "train")),
    "on_validation_model_zero_grad",
)
OF_DATA = (*TRANSFER, *LOADERS, "prepare_data", "setup", "teardown", "state_dict", "load_state_dict", "on_exception")
OF_CALLBACK = (*BOTH, "setup", "teardown", "on_sanity_check_start", "on_sanity_check_end", "on_exception")
# Only where the observed class has them: merely being there means something to the trainer.
OPTIONAL = (*STEPS, *LOADERS, "on_predict_model_train")


def observed(base: type[Any], own: type[Any], names: tuple[str, ...], prefix: str, record: Record) -> type[Any]:
    """A subclass of ``own`` whose hooks are written down; ``base`` is the framework's class."""
    members = {}
    for name in names:
        inner = getattr(own, name, None)
        if inner is None or (name in OPTIONAL and inner is getattr(base, name, None)):
            continue
        members[name] = _observing(name, inner, prefix, record)
    return type(own.__name__, (own,), members)


def _observing(name: str, inner: Callable[..., Any], prefix: str, record: Record) -> Callable[..., Any]:
    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = arguments(inner, (self, *args), kwargs)
        record.hooks.append(described(f"{prefix}.{name}", given))
        if name in STEPS:
            record.batches.append({"at": name, "batch": plain(given.get("batch"))})
        result = inner(self, *args, **kwargs)
        if name == "training_step":
            record.losses.append(plain(result))
        return result

    # The trainers look at signatures, and tell overridden hooks by their code.
    hook.__signature__ = inspect.signature(inner)  # type: ignore[attr-defined]
    hook.__name__ = name
    return hook


def network(width: int = 8) -> nn.Module:
    """Small, but with all that a mistake shows in: batch statistics, random masks, several tensors."""
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 1))


def watching(api: Any, record: Record, name: str, *, reads: bool) -> Any:
    """A callback with every hook, and with state; where it ``reads``, it keeps what the trainer shows."""

    class Watch(api.Callback):
        calls = 0

        @property
        def state_key(self) -> str:
            return f"Watch-{name}"

        def state_dict(self) -> dict[str, Any]:
            record.hooks.append(f"{name}.state_dict()")
            return {"calls": 3}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            record.hooks.append(f"{name}.load_state_dict({sorted(state)})")

    kept = {
        *(f"on_{stage}_{moment}" for stage in ("train", "validation", "test") for moment in MOMENTS),
        "on_fit_end",
    }

    def reading(hook: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def read(self: Any, trainer: Any, *args: Any, **kwargs: Any) -> Any:
            record.metrics.append({"at": hook, **shown(trainer)})
            return inner(self, trainer, *args, **kwargs)

        read.__signature__ = inspect.signature(inner)  # type: ignore[attr-defined]
        return read

    own = observed(api.Callback, Watch, OF_CALLBACK, name, record)
    if reads:
        for hook in sorted(kept):
            setattr(own, hook, reading(hook, getattr(own, hook)))
    return own()


MOMENTS = ("batch_start", "batch_end", "epoch_start", "epoch_end", "start", "end")


def shown(trainer: Any) -> dict[str, Any]:
    """What a callback can read of a trainer."""
    return {
        "callback_metrics": _numbers(trainer.callback_metrics),
        "logged_metrics": _numbers(trainer.logged_metrics),
        "progress_bar_metrics": _numbers(trainer.progress_bar_metrics),
        "global_step": trainer.global_step,
        "current_epoch": trainer.current_epoch,
        "is_last_batch": trainer.is_last_batch,
        "should_stop": trainer.should_stop,
        "stage": str(getattr(trainer.state.stage, "value", trainer.state.stage)),
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [str(value.dtype), value.item()] if isinstance(value, Tensor) else value for name, value in values.items()
    }


def noting_logger(api: Any, record: Record, folder: str) -> Any:
    """A logger that keeps what it is told."""

    class Notes(api.loggers.logger.Logger):
        @property
        def name(self) -> str:
            return "notes"

        @property
        def version(self) -> int:
            return 0

        @property
        def save_dir(self) -> str:
            return folder

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            record.logged.append({"metrics": plain(dict(metrics)), "step": step})

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            record.logged.append({"hyperparameters": plain(dict(params)) if params else {}})

        def finalize(self, status: str) -> None:
            record.logged.append({"finalize": status})

        def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
            record.logged.append({"saved": True})

    return Notes()
