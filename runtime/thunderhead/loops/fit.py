"""Training: epochs of batches, with validation in between.

::

    on_train_start
    until max_epochs, max_steps or should_stop:
        on_train_epoch_start
        until the epoch's last batch, max_steps or should_stop:
            on_train_batch_start           -1 skips the rest of the epoch
            the step                       see loops.step
            schedulers: step interval; on the last batch also epoch interval
            on_train_batch_end
            step metrics to the loggers, if due
            job checkpoint, if due
            validation, if due
            plateau schedulers: step interval
        on_train_epoch_end                 plain callbacks, the module, then callbacks that watch a metric
        plateau schedulers: epoch interval
        epoch metrics to the loggers
    on_train_end
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from thunderhead.job.link import Ask
from thunderhead.loops.control import SIGTERMException
from thunderhead.loops.position import Next, Position
from thunderhead.loops.step import AutomaticStep, ManualStep
from thunderhead.trainer.hook_table import is_overridden
from thunderhead.warning import say, say_once

if TYPE_CHECKING:
    from thunderhead.data.source import TrainingData
    from thunderhead.trainer.trainer import Trainer


class FitLoop:
    """Trains the attached module from the trainer's position on.

    Attributes:
        data: the training data, once loaded.
        is_last_batch: whether the batch being trained is the epoch's last.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.data: TrainingData | None = None
        self.is_last_batch = False
        self._iterator: Iterator[Any] = iter(())
        self._step: AutomaticStep | ManualStep | None = None
        self._skip_epoch = False
        self._moment = ""

    def run(self) -> None:
        """Train until done; returns at once when there is nothing to do."""
        t, hooks = self._trainer, self._trainer._hooks
        if self._nothing_to_train() or (self._done() and not self._unfinished()):
            return
        t._load_evaluation_data_if_due()
        if t._control is not None:
            t._control.begin(t._position)
        step_type = AutomaticStep if t.lightning_module.automatic_optimization else ManualStep
        self._step = step_type(t)
        t._sink.results = t._train_results
        hooks.call("on_train_start")
        while not self._done() or self._unfinished():
            self._epoch()
        hooks.call("on_train_end")

    def _nothing_to_train(self) -> bool:
        t = self._trainer
        if t.limit_train_batches == 0 or not is_overridden("training_step", t.lightning_module):
            return True
        if self.data is None:
            self.data = t._load_training_data()
        if t._resume_training_data is not None:
            self.data.load_state_dict(t._resume_training_data)
            t._resume_training_data = None
        if self.data.num_batches == 0:
            say("Trainer.fit stopped: no training batches")
        return self.data.num_batches == 0

    def _done(self) -> bool:
        """Whether training as a whole is over, saying why."""
        t, p = self._trainer, self._trainer._position
        if t.max_steps != -1 and p.step >= t.max_steps:
            say(f"Trainer.fit stopped: max_steps={t.max_steps} reached")
            return True
        if t.max_epochs not in (None, -1) and p.epoch >= t.max_epochs:
            say(f"Trainer.fit stopped: max_epochs={t.max_epochs} reached")
            return True
        return p.next is Next.NOTHING or (t.should_stop and self.can_stop_early)

    def _unfinished(self) -> bool:
        # A job that was stopped in its last epoch still owes that epoch's end; a file resumed from owes nothing.
        t = self._trainer
        return t._in_job and t._position.next in (Next.BATCH, Next.VALIDATE)

    @property
    def can_stop_early(self) -> bool:
        """Whether ``min_epochs`` and ``min_steps`` are met, so that ``should_stop`` counts."""
        t, p = self._trainer, self._trainer._position
        return p.epoch >= (t.min_epochs or 0) and p.step >= (t.min_steps or 0)

    @property
    def validation_follows(self) -> bool:
        """Whether validation runs right after the batch that just ended."""
        return self._trainer._validation.possible and self._validation_due()

    @property
    def batches_done(self) -> int:
        """Batches trained in the running epoch."""
        return self._trainer._position.batch

    @property
    def samples(self) -> int:
        """Samples this rank has trained on in the whole run; those of loaders that do not tell are missing."""
        p = self._trainer._position
        return p.samples + (0 if self.data is None else self.data.samples(p.batch))

    def position_for_file(self) -> Position:
        """Where a run goes on that resumes from a file written in this very moment.

        A hook may save before the loop has recorded what is done: the validation that just ended, the epoch that does.
        """
        p = self._trainer._position
        if self._moment == "epoch end":
            return replace(p, epoch=p.epoch + 1, batch=0, samples=self.samples, next=Next.EPOCH)
        if p.next is Next.VALIDATE:
            return replace(p, next=Next.BATCH, log_step=p.log_step + 1)
        if self._moment == "batch end":
            due = self.validation_follows
            return replace(p, next=Next.VALIDATE if due else Next.BATCH, log_step=p.log_step + (0 if due else 1))
        return replace(p)

    # --- an epoch ------------------------------------------------------------------------------------------------

    def _epoch(self) -> None:
        t, p, hooks = self._trainer, self._trainer._position, self._trainer._hooks
        t._reload_training_data_if_due()
        assert self.data is not None
        hooks.resolve()
        resumed, t._resumed_rng = t._resumed_rng, None
        if resumed is not None and p.next is Next.EPOCH:
            resumed()
            resumed = None
        self._iterator = self.data.begin(p.epoch)
        self._skip_epoch = False
        self.is_last_batch = p.next is not Next.EPOCH and self.data.is_last(p.batch)
        if t._control is not None:
            t._control.epoch(p)
        if p.next is Next.EPOCH:
            hooks.call("on_train_epoch_start")
            p.next = Next.BATCH
        if resumed is not None:
            # Everything that a resume did may have drawn random numbers; from here on they are those of the lost run.
            resumed()
        t._train_results.in_batches = p.batch > 0
        if p.next is Next.VALIDATE:
            self._validate(steps=True)
        self._batches()
        self._end_epoch()

    def _epoch_done(self) -> bool:
        t, p = self._trainer, self._trainer._position
        if t._sigterm:
            self._on_sigterm()
        if self.is_last_batch or self._skip_epoch or (t.max_steps != -1 and p.step >= t.max_steps):
            return True
        if t.should_stop:
            if self.can_stop_early:
                return True
            say_once(
                f"should_stop was set, but training goes on until min_epochs={t.min_epochs} and "
                f"min_steps={t.min_steps} are met"
            )
        return False

    def _on_sigterm(self) -> None:
        """A single process ends here; of several, one asks and all end together."""
        t = self._trainer
        t._sigterm = False
        if t._control is None:
            t.received_sigterm = True
            raise SIGTERMException
        t._control.request(Ask.STOP)

    def _end_epoch(self) -> None:
        t, p, hooks = self._trainer, self._trainer._position, self._trainer._hooks
        results = t._train_results
        all_done = self.is_last_batch or self._skip_epoch
        self._moment = "epoch end"
        t._metrics.leave_batches(results, p.batches)
        t._metrics.settle(results)
        hooks.call("on_train_epoch_end")
        t._metrics.settle(results)
        hooks.call_monitors()
        t._metrics.publish_epoch(results)
        if all_done:
            t._schedulers.step("epoch", plateau=True)
        t._metrics.log_epoch(results, step=p.log_step - 1)
        self._moment = ""
        p.samples = self.samples
        p.epoch += 1
        p.batch = 0
        p.next = Next.EPOCH

    # --- its batches ---------------------------------------------------------------------------------------------

    def _batches(self) -> None:
        t, p, control = self._trainer, self._trainer._position, self._trainer._control
        data, results, metrics = self.data, t._train_results, t._metrics
        starts, ends = t._hooks["on_train_batch_start"], t._hooks["on_train_batch_end"]
        transfer, schedulers, step, validation = t._transfer(), t._schedulers, self._step, t._validation
        assert data is not None
        assert step is not None
        at_boundary = results.in_batches = True
        while not self._epoch_done():
            if control is not None and at_boundary:
                control.before_step(p)
            try:
                batch = next(self._iterator)
            except StopIteration:
                break
            index = p.batch
            self.is_last_batch = data.is_last(index + 1)
            divide_by = t.accumulate_grad_batches
            steps = self.is_last_batch or (index + 1) % divide_by == 0
            if transfer is not None:
                batch = transfer(batch, 0)
            results.batch, results.batch_size = batch, None
            if starts and t._hooks.call("on_train_batch_start", batch, index) == -1:
                self._skip_epoch = True
                schedulers.after_batch(steps=True, last=True)
                break
            before = p.step
            outputs = step(batch, index, steps=steps, divide_by=divide_by)
            p.batch = index + 1
            p.batches += 1
            if schedulers.any:
                schedulers.after_batch(steps=steps, last=self.is_last_batch)
            if ends:
                self._moment = "batch end" if steps else ""
                t._hooks.call("on_train_batch_end", outputs, batch, index)
                self._moment = ""
            results.batch = None
            if steps and (p.log_step + 1) % metrics.every_n_steps == 0:
                metrics.log_step(results, p.log_step)
            at_boundary = p.step != before
            if validation.possible and self._validation_due():
                p.next = Next.VALIDATE
            elif steps:
                if schedulers.any:
                    schedulers.step("step", plateau=True)
                p.log_step += 1
            if control is not None:
                control.after_step(p, before)
            if p.next is Next.VALIDATE:
                self._validate(steps=steps)

    def _validate(self, *, steps: bool) -> None:
        t, p, control = self._trainer, self._trainer._position, self._trainer._control
        if control is not None:
            control.before_validation(p)
        t._metrics.keep_steps(t._train_results, p.batches)
        if steps:
            t._hooks.call_module("on_validation_model_zero_grad")
        t._validation.run()
        if control is not None:
            control.after_validation()
        p.next = Next.BATCH
        # What waited for it: plateau schedulers, and the loggers' x axis.
        if steps:
            t._schedulers.step("step", plateau=True)
            p.log_step += 1

    def _validation_due(self) -> bool:
        t, p = self._trainer, self._trainer._position
        every = t.check_val_every_n_epoch
        if every is not None and (p.epoch + 1) % every != 0:
            return False
        if t.should_stop and self.can_stop_early:
            return True
        if t._val_check_seconds is not None:
            return t._validation.seconds_since_last() >= t._val_check_seconds
        interval = t.val_check_batch
        if interval is None or math.isinf(interval):
            return self.is_last_batch
        return (p.batches if every is None else p.batch) % interval == 0
