"""The Trainer's arguments taking effect: what they switch off, limit and default to."""

from __future__ import annotations

import os
from typing import Any

from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers.dummy import DummyLogger
from thunderhead.trainer import arguments as args
from thunderhead.trainer.assembly import has_timer
from thunderhead.trainer.ones import understood
from thunderhead.warning import say


class Configuration:
    """Attributes of a trainer that are its arguments, checked and brought to one form."""

    def _configure(self, given: dict[str, Any]) -> None:
        """Set all of them; ``barebones`` and ``fast_dev_run`` change what is given for others."""
        self._switches(given)
        self._barebones(given)
        self._fast_dev_run(given)
        self._limits(given)
        self._optimisation(given)
        self._roots(given)

    def _switches(self, given: dict[str, Any]) -> None:
        for name in ("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "benchmark"):
            given[name] = args.switch(name, given[name], optional=True)
        for name in ("detect_anomaly", "inference_mode", "barebones", "use_distributed_sampler", "sync_batchnorm"):
            given[name] = args.switch(name, given[name])
        given["enable_autolog_hparams"] = args.switch("enable_autolog_hparams", given["enable_autolog_hparams"])
        self.detect_anomaly: bool = given["detect_anomaly"]
        self.inference_mode: bool = given["inference_mode"]
        self.barebones: bool = given["barebones"]
        self.use_distributed_sampler: bool = given["use_distributed_sampler"]
        self.enable_autolog_hparams: bool = given["enable_autolog_hparams"]

    def _barebones(self, given: dict[str, Any]) -> None:
        if not given["barebones"]:
            return
        off: dict[str, Any] = {
            "enable_checkpointing": False,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 0,
            "num_sanity_val_steps": 0,
        }
        for name, value in off.items():
            if given[name]:
                raise MisconfigurationException(
                    f"barebones=True switches off {name}, but {name}={given[name]!r} was given"
                )
            given[name] = value
        for name in ("fast_dev_run", "detect_anomaly", "profiler"):
            if given[name]:
                raise MisconfigurationException(f"barebones=True cannot be combined with {name}={given[name]!r}")

    def _fast_dev_run(self, given: dict[str, Any]) -> None:
        wanted = given["fast_dev_run"]
        if wanted is not True:
            args.whole_number("fast_dev_run", 0 if wanted is False else wanted, least=0)
        self.fast_dev_run: int | bool = True if wanted == 1 else wanted
        if not wanted:
            return
        batches = int(wanted)
        for stage in ("train", "val", "test", "predict"):
            given[f"limit_{stage}_batches"] = batches
        given.update(max_steps=batches, max_epochs=1, num_sanity_val_steps=0, val_check_interval=1.0)
        given.update(check_val_every_n_epoch=1, logger=False if given["logger"] is False else DummyLogger())

    def _limits(self, given: dict[str, Any]) -> None:
        for stage in ("train", "val", "test", "predict"):
            name = f"limit_{stage}_batches"
            setattr(self, name, args.batch_limit(name, given[name]))
        self.overfit_batches = args.batch_limit("overfit_batches", given["overfit_batches"])
        if self.overfit_batches:
            self.limit_train_batches = self.limit_val_batches = self.overfit_batches
        every = args.whole_number("check_val_every_n_epoch", given["check_val_every_n_epoch"], least=1, optional=True)
        self.check_val_every_n_epoch: int | None = every
        self.val_check_interval, self._val_check_seconds = args.validation_interval(given["val_check_interval"], every)
        self.val_check_batch: float | None = None
        for line in () if self.fast_dev_run else understood(given):
            say(line)
        sanity = 2 if given["num_sanity_val_steps"] is None else given["num_sanity_val_steps"]
        args.whole_number("num_sanity_val_steps", sanity, least=-1)
        self.num_sanity_val_steps = float("inf") if sanity == -1 else sanity
        steps = 50 if given["log_every_n_steps"] is None else given["log_every_n_steps"]
        self.log_every_n_steps = args.whole_number("log_every_n_steps", steps, least=0)
        self.reload_dataloaders_every_n_epochs = args.whole_number(
            "reload_dataloaders_every_n_epochs", given["reload_dataloaders_every_n_epochs"], least=0
        )
        self.max_steps = args.whole_number("max_steps", given["max_steps"], least=-1)
        self.min_steps = args.whole_number("min_steps", given["min_steps"], least=0, optional=True)
        max_epochs = args.whole_number("max_epochs", given["max_epochs"], least=-1, optional=True)
        min_epochs = args.whole_number("min_epochs", given["min_epochs"], least=0, optional=True)
        self.max_time = args.duration("max_time", given["max_time"])
        self.max_epochs, self.min_epochs = args.epoch_and_step_limits(
            max_epochs, min_epochs, self.max_steps, self.min_steps, timed=self.max_time is not None or has_timer(given)
        )
        self._limited_by_default = max_epochs is None and self.max_epochs != -1

    def _roots(self, given: dict[str, Any]) -> None:
        root = given["default_root_dir"]
        self._default_root_dir = os.getcwd() if root is None else args.directory("default_root_dir", root)
        self._root_argument = (
            "the working directory, since Trainer(default_root_dir=...) is not given"
            if root is None
            else f"Trainer(default_root_dir={self._default_root_dir!r})"
        )

    def _optimisation(self, given: dict[str, Any]) -> None:
        self.accumulate_grad_batches = args.whole_number(
            "accumulate_grad_batches", given["accumulate_grad_batches"], least=1
        )
        self.gradient_clip_val, self.gradient_clip_algorithm = args.gradient_clipping(
            given["gradient_clip_val"], given["gradient_clip_algorithm"]
        )
        self.sync_batchnorm = given["sync_batchnorm"]
        if given["profiler"] is not None:
            raise MisconfigurationException(
                f"profiler={given['profiler']!r} is not supported; profile with torch.profiler"
            )
