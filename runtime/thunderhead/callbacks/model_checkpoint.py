"""Saving ``.ckpt`` files: the best, the last, or all."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thunderhead.arguments import directory, one_of, switch
from thunderhead.callbacks.checkpoint_arguments import how_many, last_kind, metric_name, name_template, triggers_of
from thunderhead.callbacks.checkpoint_plan import Plan, planned
from thunderhead.callbacks.checkpoint_policy import Decision, Moment, Situation, decide
from thunderhead.callbacks.checkpoint_saving import CheckpointSaving
from thunderhead.checkpoint.alone import tell_saved
from thunderhead.core.hooks import StepOutput
from thunderhead.files.places import normal
from thunderhead.files.schemes import place_of
from thunderhead.files.writable import Destination
from thunderhead.job import attached
from thunderhead.job.link import Ask
from thunderhead.user.callback import Checkpoint
from thunderhead.warning import warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class ModelCheckpoint(CheckpointSaving, Checkpoint):
    """Saves checkpoints for people: the ``save_top_k`` best by a metric, the last, or all.

    Rank 0 decides, once, and tells the others; what is due by step and by validation at once is saved after validation.

    Args:
        dirpath: directory, or a URL such as ``s3://bucket/prefix``; by default the first logger's
            ``<save_dir>/<name>/version_<n>/checkpoints``.
        filename: name with fields such as ``{epoch}-{val_loss:.2f}``; by default ``{epoch}-{step}``.
        monitor: metric to rank by; None keeps the newest.
        verbose: say what is saved.
        save_last: also write ``last.ckpt``: True a file of its own, ``"link"`` a link to the newest (at URLs a file).
        save_top_k: how many to keep; -1 all, 0 none.
        save_on_exception: save when the run ends with an exception.
        save_weights_only: leave out optimizers, schedulers and callbacks.
        mode: ``min`` or ``max``.
        auto_insert_metric_name: ``{val_loss}`` becomes ``val_loss=0.3`` rather than ``0.3``.
        every_n_train_steps: save after each n-th optimizer step.
        train_time_interval: save after this time: a timedelta, ``"DD:HH:MM:SS"``, or a dict of timedelta's arguments.
        every_n_epochs: save in each n-th epoch; 1 when no trigger is given. At most one of the three.
        save_on_train_epoch_end: save at the end of the training epoch rather than of validation; by default only where
            validation runs exactly once per epoch, or never.
        enable_version_counter: append ``-v1`` where a file exists.

    Attributes:
        best_model_path: path of the best.
        best_model_score: its metric.
        best_k_models: metric by path.
        kth_best_model_path: path of the worst that is kept.
        last_model_path: path of the last.
        current_score: metric of the newest.

    Raises:
        MisconfigurationException: an argument out of its range, arguments that contradict each other, or a URL that
            nothing here opens.
        TypeError: ``dirpath`` is no path.
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | str | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | str | dict[str, int] | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
    ) -> None:
        self._triggers, self._train_time_interval = triggers_of(
            every_n_train_steps, every_n_epochs, train_time_interval
        )
        self.dirpath: str | None = None if dirpath is None else normal(directory("ModelCheckpoint: dirpath", dirpath))
        if self.dirpath is not None:
            place_of(self.dirpath)
        self._chosen = dirpath is not None
        self.filename = name_template(filename)
        self.monitor = metric_name(monitor)
        self.save_last = last_kind(save_last)
        self.save_top_k = how_many(save_top_k, monitor)
        self.mode: str = one_of("ModelCheckpoint: mode", mode, ("min", "max"))
        self.verbose: bool = switch("ModelCheckpoint: verbose", verbose)
        self.save_on_exception: bool = switch("ModelCheckpoint: save_on_exception", save_on_exception)
        self.save_weights_only: bool = switch("ModelCheckpoint: save_weights_only", save_weights_only)
        self.auto_insert_metric_name: bool = switch("ModelCheckpoint: auto_insert_metric_name", auto_insert_metric_name)
        self._enable_version_counter: bool = switch("ModelCheckpoint: enable_version_counter", enable_version_counter)
        self._save_on_train_epoch_end: bool | None = switch(
            "ModelCheckpoint: save_on_train_epoch_end", save_on_train_epoch_end, optional=True
        )
        self.best_model_path = ""
        self.best_model_score: Tensor | None = None
        self.best_k_models: dict[str, Tensor] = {}
        self.kth_best_model_path = ""
        self.kth_value = torch.tensor(torch.inf if mode == "min" else -torch.inf)
        self.last_model_path = ""
        self.current_score: Tensor | None = None
        self._last_global_step_saved = 0
        self._changed_since = False
        self._last_checkpoint_saved, self._kept_step = "", -1
        self._last_time_checked = 0.0
        self._deferred = False
        if not every_n_train_steps and self._train_time_interval is None:
            self.inactive_hooks = frozenset({"on_train_batch_end"})

    @property
    def every_n_epochs(self) -> int:
        """Epochs between saves, 0 for off."""
        return self._triggers.every_n_epochs

    @property
    def _every_n_epochs(self) -> int:
        """As subclasses in the field read it."""
        return self._triggers.every_n_epochs

    @property
    def _every_n_train_steps(self) -> int:
        """As subclasses in the field read it."""
        return self._triggers.every_n_train_steps

    @property
    def state_key(self) -> str:
        """Told apart by metric, mode and triggers."""
        return self._generate_state_key(
            monitor=self.monitor,
            mode=self.mode,
            every_n_train_steps=self._triggers.every_n_train_steps,
            every_n_epochs=self._triggers.every_n_epochs,
            train_time_interval=self._train_time_interval,
        )

    # --- moments -------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the directory; rank 0's is everybody's."""
        self.dirpath = trainer.strategy.tell(self._resolve_directory(trainer))
        assert self.dirpath is not None
        if stage != "fit" or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        if not self._chosen and attached() is not None:
            return  # What lies there is from earlier attempts of the same job.
        if self.save_top_k != 0 and place_of(self.dirpath).names(self.dirpath):
            warn(f"checkpoint directory {self.dirpath} exists and is not empty")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock of ``train_time_interval`` starts; a validation that was waited for in another fit never came."""
        self._deferred = False
        self._last_time_checked = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput, batch: object, batch_idx: int
    ) -> None:
        """Save, if a step or the clock is due."""
        interval = self._triggers.interval_s
        up = False
        if interval is not None:
            up = trainer.clock_says(Ask.WRITE, time.monotonic() - self._last_time_checked >= interval)
            if up:
                self._last_time_checked = time.monotonic()
        self._act(Moment.BATCH, trainer, time_is_up=up)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, if validation is when."""
        self._act(Moment.VALIDATION, trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, if the epoch's end is when."""
        self._act(Moment.EPOCH, trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run in which nothing was due still leaves its last state, if that was asked for."""
        if self.save_last and not self._last_checkpoint_saved and not self._is_off(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save what there is, if that was asked for."""
        if not self._should_save_on_exception(trainer):
            return
        # No collective, hence rank 0 alone: the ranks that are well may never come, and wait elsewhere.
        self._last_global_step_saved, self._changed_since = trainer.global_step, False
        together = trainer.ended_together(exception)
        if together or trainer.is_global_zero:
            candidates = self._monitor_candidates(trainer)
            path = self.format_checkpoint_name(candidates)
            with self._written_by(partial(trainer.save_ended, together=together, weights_only=self.save_weights_only)):
                self._save_checkpoint(trainer, path)
                if self.save_last:
                    self._save_last_at(trainer, self._last_path(candidates))
            tell_saved(exception, path)

    def _act(self, moment: Moment, trainer: Trainer, *, time_is_up: bool = False) -> None:
        if self._should_skip_saving_checkpoint(trainer):
            self._deferred = self._deferred and moment is not Moment.VALIDATION
            return
        now = Situation(
            step=trainer.global_step,
            epoch=trainer.current_epoch,
            saved_step=-1 if self._changed_since else self._last_global_step_saved,
            deferred=self._deferred,
            time_is_up=time_is_up,
            validation_follows=moment is Moment.BATCH and trainer.validation_follows,
            at_epoch_end=self._should_save_on_train_epoch_end(trainer),
        )
        # The same on every rank so far. What a rank alone can know, metrics and files, only rank 0 is asked.
        plan, candidates = Plan(decide(moment, self._triggers, now)), {}
        if plan.decision is Decision.SAVE and (self.save_top_k != 0 or self.save_last):
            candidates = self._monitor_candidates(trainer)
            plan = planned(trainer, lambda: self._plan(trainer, candidates, moment, now))
        self._deferred = plan.decision is Decision.LATER or (self._deferred and moment is not Moment.VALIDATION)
        if plan.decision is Decision.SAVE:
            self._carry_out(trainer, plan, candidates)

    def _plan(self, trainer: Trainer, candidates: dict[str, Tensor], moment: Moment, now: Situation) -> Plan:
        """Rank 0's decision: whether, and which files are written and removed."""
        missing = self.monitor is not None and self.monitor not in candidates
        decision = decide(moment, self._triggers, replace(now, metric_missing=missing))
        if decision is not Decision.SAVE:
            return Plan(decision)
        wanted = self.save_top_k != 0
        best = self._plan_best(trainer, candidates) if wanted and not missing else None
        saved = best is not None or now.saved_step == now.step
        last = None
        if self.save_last and (saved or self.save_last == "link" or moment is Moment.BATCH):
            last = self._last_path(candidates, taken=best.path if best else "")
        return Plan(decision, best, last, self._missing(candidates) if wanted and missing else "")

    def _should_skip_saving_checkpoint(self, trainer: Trainer) -> bool:
        """Nothing is saved now, whatever is due."""
        return self._is_off(trainer) or self._has_saved(trainer)

    def _should_save_on_exception(self, trainer: Trainer) -> bool:
        return self.save_on_exception and not self._has_saved(trainer) and not self._is_off(trainer)

    def _has_saved(self, trainer: Trainer) -> bool:
        return self._last_global_step_saved == trainer.global_step and not self._changed_since

    def weights_changed(self) -> None:
        """See the base class."""
        self._changed_since = True

    def _is_off(self, trainer: Trainer) -> bool:
        return bool(trainer.fast_dev_run) or trainer.state.fn != "fit" or trainer.sanity_checking

    def _should_save_on_train_epoch_end(self, trainer: Trainer) -> bool:
        """Saves of epochs happen at the end of the training epoch, rather than of a validation."""
        if self._save_on_train_epoch_end is not None:
            return self._save_on_train_epoch_end
        if trainer.validates_by_clock or trainer.check_val_every_n_epoch != 1:
            return False
        return not sum(trainer.num_val_batches) or trainer.validates_once_per_epoch

    def _destination(self, trainer: Trainer) -> Destination | None:
        writes = self.save_top_k != 0 or self.save_last or self.save_on_exception
        return self._directory(trainer) if writes else None

    # --- state ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Paths and metrics of what is kept."""
        return {
            "monitor": self.monitor,
            "best_model_score": self.best_model_score,
            "best_model_path": self.best_model_path,
            "current_score": self.current_score,
            "dirpath": self.dirpath,
            "best_k_models": self.best_k_models,
            "kth_best_model_path": self.kth_best_model_path,
            "kth_value": self.kth_value,
            "last_model_path": self.last_model_path,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on ranking against what was kept, if it lies in the same directory."""
        self.best_model_path = state_dict.get("best_model_path", "")
        if self.dirpath is None:
            # Not set up here: another process ran, and had found the directory.
            self.dirpath = state_dict.get("dirpath")
        saved = state_dict.get("dirpath", self.dirpath)
        if saved != self.dirpath:
            # Each pod of a job has a directory of its own, which nobody has chosen and nobody can keep.
            if self._chosen or attached() is None:
                warn(f"dirpath changed from {saved!r} to {self.dirpath!r}; of what is there only the best is known")
            return
        self.best_model_score = state_dict.get("best_model_score")
        self.kth_best_model_path = state_dict.get("kth_best_model_path", self.kth_best_model_path)
        self.kth_value = state_dict.get("kth_value", self.kth_value)
        self.best_k_models = state_dict.get("best_k_models", self.best_k_models)
        self.last_model_path = state_dict.get("last_model_path", self.last_model_path)
