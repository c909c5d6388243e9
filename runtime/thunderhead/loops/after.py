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
from collections.abc import Callable
from typing import Any

from thunderhead.data.transfer import move_to_device
from thunderhead.loops.position import Next, Position
from thunderhead.loops.progress import Progress
from thunderhead.rng import restore_rng
from thunderhead.trainer.hook_table import MONITORS, Slot

Transfer = Callable[[Any, int], Any]


class After(Progress):
    """The part of the fit loop that may begin in its midst."""

    def _validate(self, *, steps: bool, boundary: bool) -> None:
        t, p, control = self._trainer, self._trainer._position, self._trainer._control
        if control is not None:
            control.before_validation(p, boundary=boundary)
        self._validated = p.batches
        t._metrics.keep_steps(t._train_results, p.batches)
        if steps:
            t._hooks.call_module("on_validation_model_zero_grad")
        t._validation.run()
        if control is not None:
            control.after_validation()
        self._after_validation(steps=steps, boundary=boundary)

    def _validate_at_the_end(self) -> None:
        """Ranks that end early find that out after their batch; a single process, before the validation it brings."""
        if self._owes_validation():
            p = self._trainer._position
            p.log_step -= 1
            self._validate(steps=False, boundary=True)
            p.log_step += 1

    def _after_validation(self, *, steps: bool, boundary: bool) -> None:
        """What waited for it: plateau schedulers, and the loggers' x axis."""
        t, p = self._trainer, self._trainer._position
        if steps:
            if boundary:
                t._schedulers.step("step", plateau=True)
            p.log_step += 1
        p.next = Next.BATCH

    def _call_epoch_end(self, plain: Slot, monitors: Slot) -> None:
        """The end of an epoch, with these functions of its hook."""
        t, p, hooks = self._trainer, self._trainer._position, self._trainer._hooks
        results = t._train_results
        self.epoch_ends, self._monitors_to_come = True, monitors
        t._metrics.leave_batches(results, p.batches)
        t._metrics.settle(results)
        hooks.run(plain, "on_train_epoch_end")
        t._metrics.settle(results)
        self._monitors_to_come = Slot()
        hooks.run(monitors, "on_train_epoch_end")
        t._metrics.publish_epoch(results)
        if self.is_last_batch:
            t._schedulers.step("epoch", plateau=True)
        t._metrics.log_epoch(results, step=p.log_step - 1)
        self.epoch_ends = False
        self._begin_next_epoch()

    def _begin_next_epoch(self) -> None:
        p = self._trainer._position
        self.batches_before = p.batch
        p.epoch += 1
        p.batch = 0
        p.next, p.due, p.last = Next.EPOCH, (), False

    # --- going on in the midst -----------------------------------------------------------------------------------

    def finish_epoch(self) -> None:
        """Where a file was written as the last thing of an epoch's end, the epoch is over before anything else is."""
        t, p = self._trainer, self._trainer._position
        if p.next is not Next.EPOCH_END:
            return
        if self._over_after_this_epoch():
            # A run that was complete stays so: nobody waits for the rest.
            self._begin_next_epoch()
        elif not self._due_at_epoch_end():
            outer, t._sink.results = t._sink.results, t._train_results
            self._rest_of_epoch()
            t._sink.results = outer

    def _takes_up(self, p: Position) -> bool:
        """Whether the epoch goes on, and what its loaders say of its end is true: no batch of theirs is in hand."""
        to_train = self._trainer._left.hand is not None and p.next in (Next.BATCH, Next.BATCH_START)
        return p.next is not Next.EPOCH and not to_train

    def _put_random_state_back(self) -> None:
        state = self._trainer._left.take("random")
        if state is not None:
            restore_rng(state)

    def _rest(self) -> None:
        """Inside of an epoch: what comes before its next batch."""
        t, p = self._trainer, self._trainer._position
        if p.next is Next.EPOCH_START:
            self._run_rest("on_train_epoch_start")
            p.next = Next.BATCH
        elif p.next is Next.BATCH_END:
            self._rest_of_batch()
        elif p.next is Next.VALIDATE:
            self._validate(steps=p.stepped, boundary=p.stepped)
        elif p.next is Next.VALIDATION_END:
            self._validated = p.batches
            t._validation.run_rest(p.due)
            p.due = ()
            self._after_validation(steps=p.stepped, boundary=p.stepped)
        if p.next is not Next.BATCH_START:
            p.due = ()
        p.stepped, p.last = True, False

    def _run_rest(self, hook: str, *args: Any) -> None:
        hooks = self._trainer._hooks
        hooks.run(hooks[hook].only(self._trainer._position.due), hook, *args)

    def _rest_of_batch(self) -> None:
        t, p, results = self._trainer, self._trainer._position, self._trainer._train_results
        hand, steps = t._left.take("hand"), p.stepped
        results.in_batches = True
        if hand is not None:
            results.batch, results.batch_size = _moved(hand["batch"], t), None
            self._run_rest("on_train_batch_end", _moved(hand["outputs"], t), results.batch, hand["index"])
            results.batch = None
        p.due = ()
        if steps and ((p.log_step + 1) % t._metrics.every_n_steps == 0 or t.should_stop):
            t._metrics.log_step(results, p.log_step)
        if self.validation_follows:
            p.next = Next.VALIDATE
            self._validate(steps=steps, boundary=steps)
        else:
            self._after_validation(steps=steps, boundary=steps)

    def _rest_of_epoch(self) -> None:
        t, p = self._trainer, self._trainer._position
        self.is_last_batch, t._train_results.in_batches, self._begun = p.last, False, True
        # The samples of this epoch are counted already.
        self._call_epoch_end(*(slot.only(p.due) for slot in self._epoch_end_slots()))

    def _epoch_end_slots(self) -> tuple[Slot, Slot]:
        hooks = self._trainer._hooks
        return hooks["on_train_epoch_end"], hooks[MONITORS]

    def _due_at_epoch_end(self) -> bool:
        """Whether any function is due that this run has, too."""
        due = self._trainer._position.due
        return any(slot.only(due) for slot in self._epoch_end_slots())

    def _with_batch_in_hand(self, transfer: Transfer | None) -> tuple[Transfer | None, Slot | None]:
        """The batch that a file's step had begun with comes first, and as it was: what to do with it otherwise."""
        t, p = self._trainer, self._trainer._position
        starts = t._hooks["on_train_batch_start"].only(p.due) if p.next is Next.BATCH_START else None
        p.next, p.due = Next.BATCH, ()
        hand = t._left.take("hand")
        if hand is None:
            return transfer, starts
        batch = _moved(hand["batch"], t)
        self._iterator = itertools.chain([batch], self._iterator)
        if transfer is None:
            return None, starts
        return (lambda found, index: found if found is batch else transfer(found, index)), starts


def _moved(data: Any, trainer: Any) -> Any:
    return move_to_device(data, trainer.strategy.root_device)
