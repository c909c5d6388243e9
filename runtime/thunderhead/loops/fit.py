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

from thunderhead.core.position import Next
from thunderhead.core.steps import Steps
from thunderhead.hooks.overriding import is_overridden
from thunderhead.hooks.table import MONITORS, UNRECORDED
from thunderhead.loops.after import After
from thunderhead.loops.forward import ForwardStep
from thunderhead.loops.manual import ManualStep
from thunderhead.loops.step import AutomaticStep
from thunderhead.profilers.timed import timed_iterator
from thunderhead.run.control import Control
from thunderhead.run.loaders import load_validation_data_if_due, reload_training_data_if_due
from thunderhead.run.stopping import end_by_sigterm
from thunderhead.run.training import samples_of
from thunderhead.run.transfer import transfer_of
from thunderhead.warning import PossibleUserWarning, warn

_START = "on_train_batch_start"


def _warn_of_eval_mode(module: Steps) -> None:
    """Often somebody forgot to put it back."""
    left = [name or type(module).__name__ for name, child in module.named_modules() if not child.training]
    if left:
        warn(
            f"training begins with {len(left)} modules in evaluation mode ({', '.join(left[:3])}"
            f"{', …' if len(left) > 3 else ''}), whose dropout is off and whose statistics stand still; call "
            "train() on them, unless it is meant",
            PossibleUserWarning,
        )


class FitLoop(After):
    """Trains the module of its run from the position of its training on."""

    _step: AutomaticStep | ManualStep

    def run(self) -> None:
        """Train until done; returns at once when there is nothing to do."""
        run, training = self._run, self._training
        if self._nothing_to_train():
            return
        self._between_epochs()
        if self._done() and not self._unfinished():
            return
        load_validation_data_if_due(run, training)
        if run.control is not None:
            run.control.begin(training.position)
        step_type = AutomaticStep if run.module.automatic_optimization else ManualStep
        self._step = step_type(run, training)
        run.sink.results = training.results
        _warn_of_eval_mode(run.module)
        run.hooks.call("on_train_start")
        train_epoch = run.timed("run_training_epoch", self._train_epoch)
        while not self._done() or self._unfinished():
            train_epoch()
            self._between_epochs()
        if run.control is not None:
            run.control.after_training()
        run.hooks.call("on_train_end")
        if run.stop.sigterm and run.control is None:
            end_by_sigterm(run)

    def renew_step(self) -> None:
        """The module has another wrapper: the next epoch steps with it."""
        if "_step" in self.__dict__:
            self._step = type(self._step)(self._run, self._training)

    def let_go(self) -> None:
        """End the loaders' processes, and drop the step: it holds the wrapped module, and with it the process group."""
        self.__dict__.pop("_step", None)
        if self._training.data is not None:
            self._training.data.let_go()
        self._validation.let_go()

    def _between_epochs(self) -> None:
        if self._run.control is not None:
            self._run.control.between_epochs()

    def _train_epoch(self) -> None:
        run, training, p, epoch = self._run, self._training, self._training.position, self._epoch
        run.hooks.resolve()
        if p.next is Next.EPOCH_END:
            self._rest_of_epoch()
            return
        reload_training_data_if_due(run, training)
        data = training.data
        assert data is not None
        if p.next is Next.EPOCH:
            self._put_random_state_back()
        cut, epoch.cut = epoch.cut, ""
        batches = iter(()) if cut else data.begin(p.epoch)
        self._iterator = timed_iterator(run.profiler, "[_TrainingEpochLoop].train_dataloader_next", batches)
        epoch.skip = bool(cut)
        epoch.is_last_batch = bool(cut) or p.last or (self._takes_up(p) and data.is_last(p.batch))
        epoch.begun = True
        if run.control is not None:
            run.control.epoch(p)
        if p.next is Next.EPOCH:
            self._count_from_here()
        training.results.in_batches = p.batch > 0
        if p.next is Next.EPOCH:
            run.hooks.call("on_train_epoch_start")
            p.next = Next.BATCH
        else:
            # Everything that a resume did may have drawn random numbers; from here on they are those of the lost run.
            self._put_random_state_back()
            self._rest()
        if cut == "cut":
            self._schedulers.after_batch(steps=False, last=True)
        self._batches()
        self._end_epoch()

    def _batches(self) -> None:
        run, training, control = self._run, self._training, self._run.control
        p, epoch, data, results = training.position, self._epoch, training.data, training.results
        options, stop, hooks, metrics = run.options, run.stop, run.hooks, run.metrics
        all_starts, starts_unrecorded, ends = hooks[_START], hooks[UNRECORDED], hooks["on_train_batch_end"]
        transfer, schedulers, validation = transfer_of(run), self._schedulers, training.validation
        trains = not epoch.forward_only
        step = run.timed("run_training_batch", self._step if trains else ForwardStep(run, training))
        may_skip = is_overridden(_START, run.module)  # what callbacks return says nothing
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
            epoch.is_last_batch = data.is_last(index + 1)
            divide_by = options.accumulate_grad_batches
            steps = trains and (epoch.is_last_batch or (index + 1) % divide_by == 0)
            if transfer is not None:
                batch = transfer(batch, 0)
            results.batch, results.batch_size = batch, None
            recorded = (p.log_step + 1) % metrics.every_n_steps == 0 or stop.asked
            starts = all_starts if recorded else starts_unrecorded
            if left_starts is not None:
                starts, left_starts = left_starts, None
            if starts and batch is not None and hooks.run(starts, _START, batch, index) == -1 and may_skip:
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
            if schedulers.any and trains:
                schedulers.after_batch(steps=p.step != before, last=epoch.is_last_batch)
            if ends:
                hooks.call("on_train_batch_end", outputs, batch, index)
            results.batch = None
            if not results.host:
                results.collect()
            if steps and (recorded or stop.asked):
                metrics.log_step(results, p.log_step, p.epoch)
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
        self._epoch.skip = self._epoch.is_last_batch = True
        self._schedulers.after_batch(steps=False, last=True)

    def _ends_before_step(self, control: Control) -> bool:
        """Whether what all ranks know by now ends the epoch before its next step."""
        control.before_step(self._training.position)
        if not (self._run.stop.asked and self._epoch_done()):
            return False
        self._validate_at_the_end()
        return True

    def _end_epoch(self) -> None:
        hooks, samples = self._run.hooks, samples_of(self._training)
        self._call_epoch_end(hooks["on_train_epoch_end"], hooks[MONITORS])
        self._training.position.samples = samples
