"""Where a run goes on that resumes from a file written in this very moment.

A hook may save before all of its functions were called, and before the loop has done what follows them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from thunderhead.core.position import Next, Position
from thunderhead.run.run import Run
from thunderhead.run.training import Training, samples_of

# What the loop is at while these hooks run.
_MOMENTS: Final = {
    "on_train_epoch_start": Next.EPOCH_START,
    "on_train_batch_start": Next.BATCH_START,
    "on_train_batch_end": Next.BATCH_END,
    "on_validation_end": Next.VALIDATION_END,
}


def position_for_file(run: Run, training: Training) -> Position:
    """What is done, and what is not."""
    p, epoch = training.position, training.epoch
    if not run.fitting or not epoch.begun:
        return replace(p)
    hook, due = run.hooks.left()
    if epoch.ends:
        due = (*due, *epoch.monitors_to_come.names()) if hook == "on_train_epoch_end" else ()
        return replace(p, next=Next.EPOCH_END, due=due, samples=samples_of(training), last=epoch.is_last_batch)
    ended = epoch.is_last_batch or p.batch % run.options.accumulate_grad_batches == 0
    ended = ended and not epoch.forward_only
    now = replace(p, stepped=ended, last=epoch.is_last_batch)
    in_hand = batch_in_hand(training) is not None
    if hook in _MOMENTS:
        now.next, now.due = _MOMENTS[hook], due
    elif p.next is Next.VALIDATE and training.validation.over:
        now.next = Next.VALIDATION_END
    elif run.sink.hook == "lr_scheduler_step" and in_hand:
        now.next, now.due = Next.BATCH_END, run.hooks["on_train_batch_end"].names()
    before = now.next in (Next.EPOCH, Next.EPOCH_START, Next.BATCH_START)
    if before or (now.next is Next.BATCH and in_hand):
        now.last = False
    return now


def position_at_end(run: Run, training: Training) -> Position:
    """For a file of the exception that ended the run: a validation that did not come to its end is run again."""
    found = position_for_file(run, training)
    interrupted = training.position.next is Next.VALIDATE and training.validation.began_with is not None
    return replace(found, next=Next.VALIDATE, due=()) if interrupted else found


def batch_in_hand(training: Training) -> object:
    """The batch whose step has begun, and whose hooks at its end are not all done; None where there is none."""
    return training.results.batch if training.position.next is Next.BATCH else None
