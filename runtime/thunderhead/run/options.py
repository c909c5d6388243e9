"""What the Trainer's arguments mean: checked, brought to one form, and read from them alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from thunderhead import arguments as args
from thunderhead.exceptions import MisconfigurationException

_SWITCHES: Final = (
    "detect_anomaly",
    "inference_mode",
    "barebones",
    "use_distributed_sampler",
    "sync_batchnorm",
    "enable_autolog_hparams",
)
_OPTIONAL_SWITCHES: Final = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "benchmark")
_STAGES: Final = ("train", "val", "test", "predict")
_OFF_IN_BAREBONES: Final[Mapping[str, Any]] = {
    "enable_checkpointing": False,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": 0,
}


@dataclass(slots=True)
class Options:
    """One record per Trainer. Its attributes are the Trainer's, and may be changed between runs or while one goes on.

    Attributes:
        max_epochs: epochs to train; -1 for no limit; None until a fit decides on it.
        min_epochs: epochs before ``should_stop`` counts; None until a fit decides on it.
        max_steps: optimizer steps to train; -1 for no limit.
        min_steps: optimizer steps before ``should_stop`` counts.
        max_time: how long to train.
        limit_train_batches: an integer counts batches, a float is a share.
        limit_val_batches: the same for validation.
        limit_test_batches: the same for test.
        limit_predict_batches: the same for predict.
        overfit_batches: part of the data to train and validate on, unshuffled; 0 for all of it, as it comes.
        val_check_interval: batches between validations, or their share of an epoch.
        val_check_seconds: time between validations, where that is what counts.
        check_val_every_n_epoch: validate in every n-th epoch; None to count batches over epochs.
        num_sanity_val_steps: validation batches before training; infinite for all.
        log_every_n_steps: training steps between records of step values; 0 for none.
        accumulate_grad_batches: batches per optimizer step.
        gradient_clip_val: clip gradients at this value.
        gradient_clip_algorithm: norm or value.
        reload_dataloaders_every_n_epochs: ask for the loaders again every n epochs; 0 for never.
        fast_dev_run: run this many batches of everything, without logs or checkpoints; True for 1.
        barebones: everything that costs time is off.
        detect_anomaly: autograd's anomaly detection.
        inference_mode: inference mode rather than no_grad in validate, test and predict.
        use_distributed_sampler: cut loaders into one part per rank.
        sync_batchnorm: share BatchNorm statistics between ranks.
        enable_autolog_hparams: send hyperparameters to the loggers.
        default_root_dir: where files go, as it was given.
        root_argument: who decided on that, in words.
    """

    max_epochs: int | None
    min_epochs: int | None
    max_steps: int
    min_steps: int | None
    max_time: timedelta | None
    limit_train_batches: int | float
    limit_val_batches: int | float
    limit_test_batches: int | float
    limit_predict_batches: int | float
    overfit_batches: int | float
    val_check_interval: int | float
    val_check_seconds: float | None
    check_val_every_n_epoch: int | None
    num_sanity_val_steps: int | float
    log_every_n_steps: int
    accumulate_grad_batches: int
    gradient_clip_val: float | None
    gradient_clip_algorithm: str | None
    reload_dataloaders_every_n_epochs: int
    fast_dev_run: int | bool
    barebones: bool
    detect_anomaly: bool
    inference_mode: bool
    use_distributed_sampler: bool
    sync_batchnorm: bool
    enable_autolog_hparams: bool
    default_root_dir: str
    root_argument: str

    @property
    def validates_once_per_epoch(self) -> bool:
        """Validation comes at the end of every epoch and nowhere else: 1.0, which the number 1 is not."""
        interval = self.val_check_interval
        whole = isinstance(interval, float) and interval == 1.0
        return whole and self.check_val_every_n_epoch == 1 and self.val_check_seconds is None

    def decide_on_epochs(self, is_timed: Callable[[], bool]) -> bool:
        """A fit begins: what was left open is decided on, from what limits it otherwise.

        Args:
            is_timed: whether a callback limits its time.

        Returns:
            Whether nothing else did, so that ``max_epochs`` is 1000 from now on.
        """
        unlimited = self.max_epochs is None and self.max_steps == -1 and not is_timed()
        if self.max_epochs is None:
            self.max_epochs = 1000 if unlimited else -1
        if self.min_epochs is None:
            self.min_epochs = 0 if self.min_steps is None else 1
        return unlimited


def effective(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they count: ``barebones`` and ``fast_dev_run`` change what is given for others.

    Raises:
        MisconfigurationException: an argument contradicts one of these two, or a switch is none.
    """
    found = dict(given)
    for name in _OPTIONAL_SWITCHES:
        found[name] = args.switch(name, found[name], optional=True)
    for name in _SWITCHES:
        found[name] = args.switch(name, found[name])
    if found["barebones"]:
        _bare(found)
    wanted = found["fast_dev_run"]
    if wanted is not True:
        args.whole_number("fast_dev_run", 0 if wanted is False else wanted, least=0)
    if wanted:
        found["fast_dev_run"] = True if wanted == 1 else wanted
        found.update({f"limit_{stage}_batches": int(wanted) for stage in _STAGES})
        found.update(max_steps=int(wanted), max_epochs=1, num_sanity_val_steps=0, val_check_interval=1.0)
        found.update(check_val_every_n_epoch=1)
    return found


def _bare(found: dict[str, Any]) -> None:
    for name, value in _OFF_IN_BAREBONES.items():
        if found[name]:
            raise MisconfigurationException(f"barebones=True switches off {name}, but {name}={found[name]!r} was given")
        found[name] = value
    for name in ("fast_dev_run", "detect_anomaly", "profiler"):
        if found[name]:
            raise MisconfigurationException(f"barebones=True cannot be combined with {name}={found[name]!r}")


def read_options(given: Mapping[str, Any]) -> Options:
    """The meaning of ``effective`` arguments.

    Args:
        given: all arguments of the Trainer by name.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """
    names = [f"limit_{stage}_batches" for stage in _STAGES]
    limits: dict[str, Any] = {name: args.batch_limit(name, given[name]) for name in names}
    overfit = args.batch_limit("overfit_batches", given["overfit_batches"])
    if overfit:
        limits["limit_train_batches"] = limits["limit_val_batches"] = overfit
    every = args.whole_number("check_val_every_n_epoch", given["check_val_every_n_epoch"], least=1, optional=True)
    interval, seconds = args.validation_interval(given["val_check_interval"], every)
    clip, algorithm = args.gradient_clipping(given["gradient_clip_val"], given["gradient_clip_algorithm"])
    root = given["default_root_dir"]
    directory = os.getcwd() if root is None else args.directory("default_root_dir", root)
    return Options(
        **limits,
        **_lengths(given),
        **{name: given[name] for name in _SWITCHES},
        overfit_batches=overfit,
        val_check_interval=interval,
        val_check_seconds=seconds,
        check_val_every_n_epoch=every,
        num_sanity_val_steps=_sanity(given["num_sanity_val_steps"]),
        log_every_n_steps=_or_default("log_every_n_steps", given["log_every_n_steps"], 50, least=0),
        accumulate_grad_batches=args.whole_number("accumulate_grad_batches", given["accumulate_grad_batches"], least=1),
        gradient_clip_val=clip,
        gradient_clip_algorithm=algorithm,
        reload_dataloaders_every_n_epochs=args.whole_number(
            "reload_dataloaders_every_n_epochs", given["reload_dataloaders_every_n_epochs"], least=0
        ),
        fast_dev_run=given["fast_dev_run"],
        default_root_dir=directory,
        root_argument="the working directory, since Trainer(default_root_dir=...) is not given"
        if root is None
        else f"Trainer(default_root_dir={directory!r})",
    )


def _lengths(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "max_steps": args.whole_number("max_steps", given["max_steps"], least=-1),
        "min_steps": args.whole_number("min_steps", given["min_steps"], least=0, optional=True),
        "max_epochs": args.whole_number("max_epochs", given["max_epochs"], least=-1, optional=True),
        "min_epochs": args.whole_number("min_epochs", given["min_epochs"], least=0, optional=True),
        "max_time": args.duration("max_time", given["max_time"]),
    }


def _or_default(name: str, value: object, default: int, *, least: int) -> int:
    found: int = args.whole_number(name, default if value is None else value, least=least)
    return found


def _sanity(value: object) -> int | float:
    found = _or_default("num_sanity_val_steps", value, 2, least=-1)
    return float("inf") if found == -1 else found
