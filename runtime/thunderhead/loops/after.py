"""What follows a batch, a validation and an epoch's last batch, whole or what a file's moment left of it.

=================  ====================================================================================================
written in         the run that goes on from it first
=================  ====================================================================================================
on_train_epoch_…   calls the rest of that hook's functions (``start``, ``end``), and after the end steps plateau
                   schedulers and sends the epoch's values to the loggers
on_train_batch_…   calls the rest of that hook's functions with the batch in hand, and after the end sends step values
                   to the loggers, validates if due, steps plateau schedulers and counts on
validation         runs it again, from the random state it began with
on_validation_end  calls the rest of that hook's functions, steps plateau schedulers and counts on
a training step    takes the batch in hand again: half a step is in no file
=================  ====================================================================================================
"""

from __future__ import annotations

import itertools

from thunderhead.core.position import Next, Position
from thunderhead.hooks.table import MONITORS, Slot
from thunderhead.loops.questions import Progress
from thunderhead.rng import restore_rng
from thunderhead.run.transfer import Transfer
from thunderhead.tensors import move_to_device


class After(Progress):
    """The part of the fit loop that may begin in its midst."""

    def _validate(self, *, steps: bool, boundary: bool) -> None:
        run, p, control = self._run, self._training.position, self._run.control
        if control is not None:
            control.before_validation(p, boundary=boundary)
        self._epoch.validated = p.batches
        run.metrics.keep_steps(self._training.results, p.batches)
        if steps:
            run.hooks.call_module("on_validation_model_zero_grad")
        self._validation.run()
        if control is not None:
            control.after_validation()
        self._after_validation(steps=steps, boundary=boundary)

    def _validate_at_the_end(self) -> None:
        """Ranks that end early find that out after their batch; a single process, before the validation it brings."""
        if self._owes_validation():
            p = self._training.position
            p.log_step -= 1
            self._validate(steps=False, boundary=True)
            p.log_step += 1

    def _after_validation(self, *, steps: bool, boundary: bool) -> None:
        """What waited for it: plateau schedulers, and the loggers' x axis."""
        p = self._training.position
        if steps:
            if boundary:
                self._schedulers.step("step", plateau=True)
            p.log_step += 1
        p.next = Next.BATCH

    def _call_epoch_end(self, plain: Slot, monitors: Slot) -> None:
        """The end of an epoch, with these functions of its hook."""
        metrics, results, hooks = self._run.metrics, self._training.results, self._run.hooks
        p, epoch = self._training.position, self._epoch
        epoch.ends, epoch.monitors_to_come = True, monitors
        metrics.leave_batches(results, p.batches)
        metrics.settle(results)
        hooks.run(plain, "on_train_epoch_end")
        metrics.settle(results)
        epoch.monitors_to_come = Slot()
        hooks.run(monitors, "on_train_epoch_end")
        metrics.publish_epoch(results)
        if epoch.is_last_batch:
            self._schedulers.step("epoch", plateau=True)
        metrics.log_epoch(results, p.log_step - 1, p.epoch)
        epoch.ends = False
        self._begin_next_epoch()

    def _begin_next_epoch(self) -> None:
        p = self._training.position
        self._epoch.batches_before = p.batch
        p.epoch += 1
        p.batch = 0
        p.next, p.due, p.last = Next.EPOCH, (), False

    # --- going on in the midst -----------------------------------------------------------------------------------

    def finish_epoch(self) -> None:
        """Where a file was written as the last thing of an epoch's end, the epoch is over before anything else is."""
        p, sink = self._training.position, self._run.sink
        if p.next is not Next.EPOCH_END:
            return
        if self._over_after_this_epoch():
            # A run that was complete stays so: nobody waits for the rest.
            self._begin_next_epoch()
        elif not self._due_at_epoch_end():
            outer, sink.results = sink.results, self._training.results
            self._rest_of_epoch()
            sink.results = outer

    def _takes_up(self, p: Position) -> bool:
        """Whether the epoch goes on, and what its loaders say of its end is true: no batch of theirs is in hand."""
        to_train = self._training.left.hand is not None and p.next in (Next.BATCH, Next.BATCH_START)
        return p.next is not Next.EPOCH and not to_train

    def _put_random_state_back(self) -> None:
        state = self._training.left.take("random")
        if state is not None:
            restore_rng(state)

    def _rest(self) -> None:
        """Inside of an epoch: what comes before its next batch."""
        p = self._training.position
        if p.next is Next.EPOCH_START:
            self._run_rest("on_train_epoch_start")
            p.next = Next.BATCH
        elif p.next is Next.BATCH_END:
            self._rest_of_batch()
        elif p.next is Next.VALIDATE:
            self._validate(steps=p.stepped, boundary=p.stepped)
        elif p.next is Next.VALIDATION_END:
            self._epoch.validated = p.batches
            self._validation.run_rest(p.due)
            p.due = ()
            self._after_validation(steps=p.stepped, boundary=p.stepped)
        if p.next is not Next.BATCH_START:
            p.due = ()
        p.stepped, p.last = True, False

    def _run_rest(self, hook: str, *args: object) -> None:
        hooks = self._run.hooks
        hooks.run(hooks[hook].only(self._training.position.due), hook, *args)

    def _rest_of_batch(self) -> None:
        run, p, results = self._run, self._training.position, self._training.results
        hand, steps = self._training.left.take("hand"), p.stepped
        results.in_batches = True
        if hand is not None:
            results.batch, results.batch_size = self._moved(hand["batch"]), None
            self._run_rest("on_train_batch_end", self._moved(hand["outputs"]), results.batch, hand["index"])
            results.batch = None
        p.due = ()
        if steps and ((p.log_step + 1) % run.metrics.every_n_steps == 0 or run.stop.asked):
            run.metrics.log_step(results, p.log_step, p.epoch)
        if self.validation_follows:
            p.next = Next.VALIDATE
            self._validate(steps=steps, boundary=steps)
        else:
            self._after_validation(steps=steps, boundary=steps)

    def _rest_of_epoch(self) -> None:
        p, epoch = self._training.position, self._epoch
        epoch.is_last_batch, self._training.results.in_batches, epoch.begun = p.last, False, True
        # The samples of this epoch are counted already.
        self._call_epoch_end(*(slot.only(p.due) for slot in self._epoch_end_slots()))

    def _epoch_end_slots(self) -> tuple[Slot, Slot]:
        hooks = self._run.hooks
        return hooks["on_train_epoch_end"], hooks[MONITORS]

    def _due_at_epoch_end(self) -> bool:
        """Whether any function is due that this run has, too."""
        due = self._training.position.due
        return any(slot.only(due) for slot in self._epoch_end_slots())

    def _with_batch_in_hand(self, transfer: Transfer | None) -> tuple[Transfer | None, Slot | None]:
        """The batch that a file's step had begun with comes first, and as it was: what to do with it otherwise."""
        p = self._training.position
        starts = self._run.hooks["on_train_batch_start"].only(p.due) if p.next is Next.BATCH_START else None
        p.next, p.due = Next.BATCH, ()
        hand = self._training.left.take("hand")
        if hand is None:
            return transfer, starts
        batch = self._moved(hand["batch"])
        self._iterator = itertools.chain([batch], self._iterator)
        if transfer is None:
            return None, starts
        return (lambda found, index: found if found is batch else transfer(found, index)), starts

    def _moved(self, data: object) -> object:
        return move_to_device(data, self._run.strategy.root_device)
