"""Training: epochs of batches, with validation in between.

::

    on_train_start
    until max_epochs, max_steps or should_stop:
        on_train_epoch_start
        until the epoch's last batch, max_steps or should_stop:
            on_train_batch_start           -1 skips the rest of the epoch
            the step                       see loops.step
            schedulers: step interval; on the last batch also epoch interval
            on_train_batch_end             callbacks, the module, then callbacks that save
            step metrics to the loggers, if due
            job checkpoint, if due
            validation, if due
            plateau schedulers: step interval
        on_train_epoch_end                 plain callbacks, the module, then callbacks that watch a metric
        plateau schedulers: epoch interval
        epoch metrics to the loggers
    on_train_end

A run that goes on from a file first carries out what its ``Position`` says was still to come; see ``loops.after``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thunderhead.loops.after import After
from thunderhead.loops.manual import ManualStep
from thunderhead.loops.position import Next
from thunderhead.loops.step import AutomaticStep
from thunderhead.trainer.hook_table import MONITORS, UNRECORDED, is_overridden

if TYPE_CHECKING:
    from thunderhead.loops.control import Control

_START = "on_train_batch_start"


class FitLoop(After):
    """Trains the attached module from the trainer's position on."""

    _step: AutomaticStep | ManualStep

    def run(self) -> None:
        """Train until done; returns at once when there is nothing to do."""
        t, hooks = self._trainer, self._trainer._hooks
        if self._nothing_to_train():
            return
        self._between_epochs()
        if self._done() and not self._unfinished():
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
            self._between_epochs()
        if t._control is not None:
            t._control.after_training()
        hooks.call("on_train_end")
        if t._sigterm and t._control is None:
            self.end_by_sigterm()

    def let_go(self) -> None:
        """End the loaders' processes, and drop the step: it holds the wrapped module, and with it the process group."""
        self.__dict__.pop("_step", None)
        if self.data is not None:
            self.data.let_go()
        self._trainer._validation.let_go()

    def _between_epochs(self) -> None:
        if self._trainer._control is not None:
            self._trainer._control.between_epochs()

    def _epoch(self) -> None:
        t, p, hooks = self._trainer, self._trainer._position, self._trainer._hooks
        hooks.resolve()
        if p.next is Next.EPOCH_END:
            self._rest_of_epoch()
            return
        t._reload_training_data_if_due()
        assert self.data is not None
        if p.next is Next.EPOCH:
            self._put_random_state_back()
        cut, self.cut = self.cut, ""
        self._iterator = iter(()) if cut else self.data.begin(p.epoch)
        self._skip_epoch = bool(cut)
        self.is_last_batch = bool(cut) or p.last or (self._takes_up(p) and self.data.is_last(p.batch))
        self._begun = True
        if t._control is not None:
            t._control.epoch(p)
        self._count_from_here()
        t._train_results.in_batches = p.batch > 0
        if p.next is Next.EPOCH:
            hooks.call("on_train_epoch_start")
            p.next = Next.BATCH
        else:
            # Everything that a resume did may have drawn random numbers; from here on they are those of the lost run.
            self._put_random_state_back()
            self._rest()
        if cut == "cut":
            t._schedulers.after_batch(steps=False, last=True)
        self._batches()
        self._end_epoch()

    def _batches(self) -> None:
        t, p, control = self._trainer, self._trainer._position, self._trainer._control
        data, results, metrics = self.data, t._train_results, t._metrics
        all_starts, starts_unrecorded = t._hooks[_START], t._hooks[UNRECORDED]
        ends = t._hooks["on_train_batch_end"]
        transfer, schedulers, validation = t._transfer(), t._schedulers, t._validation
        step: Callable[..., Any] = self._step
        may_skip = is_overridden(_START, t.lightning_module)  # what callbacks return says nothing
        assert data is not None
        own = self._own_iteration()
        if own is not None:
            self._iterator, step, transfer = own.handed(), own.guarded(step), None
        transfer, left_starts = self._with_batch_in_hand(transfer)
        at_boundary = results.in_batches = True
        while not self._epoch_done():
            if at_boundary and control is not None and self._ends_before_step(control):
                break
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
            recorded = (p.log_step + 1) % metrics.every_n_steps == 0 or t.should_stop
            starts = all_starts if recorded else starts_unrecorded
            if left_starts is not None:
                starts, left_starts = left_starts, None
            if starts and batch is not None and t._hooks.run(starts, _START, batch, index) == -1 and may_skip:
                self._skip_the_rest()
                break
            before = p.step
            outputs = step(batch, index, steps=steps, divide_by=divide_by) if batch is not None else self._no_batch()
            p.batch = index + 1
            p.batches += 1
            if own is not None:
                batch = own.batch
                if self._took_too_much(own):
                    break
            if schedulers.any:
                schedulers.after_batch(steps=p.step != before, last=self.is_last_batch)
            if ends:
                t._hooks.call("on_train_batch_end", outputs, batch, index)
            results.batch = None
            if not results.host:
                results.collect()
            if steps and (recorded or t.should_stop):
                metrics.log_step(results, p.log_step)
            at_boundary = p.step != before
            if validation.possible and self._validation_due():
                p.next = Next.VALIDATE
            elif steps:
                if schedulers.any and at_boundary:
                    schedulers.step("step", plateau=True)
                p.log_step += 1
            if control is not None:
                control.after_step(p, before)
            if p.next is Next.VALIDATE:
                self._validate(steps=steps, boundary=at_boundary)

    def _skip_the_rest(self) -> None:
        self._skip_epoch = self.is_last_batch = True
        self._trainer._schedulers.after_batch(steps=False, last=True)

    def _ends_before_step(self, control: Control) -> bool:
        """Whether what all ranks know by now ends the epoch before its next step."""
        control.before_step(self._trainer._position)
        if not (self._trainer.should_stop and self._epoch_done()):
            return False
        self._validate_at_the_end()
        return True

    def _end_epoch(self) -> None:
        p, hooks = self._trainer._position, self._trainer._hooks
        samples = self.samples
        self._call_epoch_end(hooks["on_train_epoch_end"], hooks[MONITORS])
        p.samples = samples
