"""How far training has come: what the loop asks itself at each turn, and what others ask the loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from thunderhead.checkpoint.reconcile import tell
from thunderhead.job.link import Ask
from thunderhead.loops.control import SIGTERMException
from thunderhead.loops.own_iteration import DataloaderIter
from thunderhead.loops.position import Next, Position
from thunderhead.loops.signature import wants_iterator
from thunderhead.trainer.hook_table import Slot, is_overridden
from thunderhead.warning import say, say_once, warn_once

if TYPE_CHECKING:
    from thunderhead.data.source import TrainingData
    from thunderhead.trainer.trainer import Trainer


# What the loop is at while these hooks run.
_MOMENTS: Final = {
    "on_train_epoch_start": Next.EPOCH_START,
    "on_train_batch_start": Next.BATCH_START,
    "on_train_batch_end": Next.BATCH_END,
    "on_validation_end": Next.VALIDATION_END,
}


class Progress:
    """Questions about a fit, answered from the trainer's position, its limits and its data.

    Attributes:
        data: the training data, once loaded.
        is_last_batch: whether the batch being trained is the epoch's last.
        batches_before: batches of the epoch before the running one.
        steps_before: optimizer steps done before the running epoch.
        schedules_before: scheduler steps done before it.
        cut: why the resumed epoch is not trained on: "cut" as its place is none in the data of now, or "ended".
        epoch_ends: the epoch's last batch is done, and what follows it is not.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.data: TrainingData | None = None
        self.is_last_batch = False
        self._iterator: Iterator[Any] = iter(())
        self.batches_before = self.steps_before = self.schedules_before = 0
        self._skip_epoch = False
        self.cut = ""
        self.epoch_ends = self._begun = False
        self._monitors_to_come = Slot()
        self._validated = -1

    @property
    def stops(self) -> bool:
        """Whether training is to end early; of several ranks, once all know."""
        t = self._trainer
        return t.should_stop if t._control is None or t.world_size == 1 else t._control.finishing

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
    def accumulating(self) -> bool:
        """Inside a window of batches whose gradients are added up: no job checkpoint holds those."""
        t = self._trainer
        return t._position.batch % t.accumulate_grad_batches != 0 and not self.is_last_batch

    @property
    def samples(self) -> int:
        """Samples this rank has trained on in the whole run; those of loaders that do not tell are missing."""
        p = self._trainer._position
        counted = self.data is None or p.next is Next.EPOCH_END
        return p.samples + (0 if counted or self.data is None else self.data.samples(p.batch))

    def position_for_file(self) -> Position:
        """Where a run goes on that resumes from a file written in this very moment: what is done, and what is not.

        A hook may save before all of its functions were called, and before the loop has done what follows them.
        """
        t, p = self._trainer, self._trainer._position
        if t._fn != "fit" or not self._begun:
            return replace(p)
        hook, due = t._hooks.left()
        if self.epoch_ends:
            due = (*due, *self._monitors_to_come.names()) if hook == "on_train_epoch_end" else ()
            return replace(p, next=Next.EPOCH_END, due=due, samples=self.samples, last=self.is_last_batch)
        ended = self.is_last_batch or p.batch % t.accumulate_grad_batches == 0
        now = replace(p, stepped=ended, last=self.is_last_batch)
        if hook in _MOMENTS:
            now.next, now.due = _MOMENTS[hook], due
        elif p.next is Next.VALIDATE and t._validation.over:
            now.next = Next.VALIDATION_END
        elif t._sink.hook == "lr_scheduler_step" and self.batch_in_hand is not None:
            now.next, now.due = Next.BATCH_END, t._hooks["on_train_batch_end"].names()
        before = now.next in (Next.EPOCH, Next.EPOCH_START, Next.BATCH_START)
        if before or (now.next is Next.BATCH and self.batch_in_hand is not None):
            now.last = False
        return now

    @property
    def batch_in_hand(self) -> Any:
        """The batch whose step has begun, and whose hooks at its end are not all done; None where there is none."""
        t = self._trainer
        return t._train_results.batch if t._position.next is Next.BATCH else None

    def begin_fit(self) -> None:
        """Another fit begins, with loaders anew, so no epoch is begun half way; see ``trainer.following``."""
        p = self._trainer._position
        samples = self.samples if self.epoch_ends else p.samples
        epoch = p.epoch + 1 if self.epoch_ends else p.epochs_trained
        if p.next is not Next.EPOCH:
            p = Position(epoch, batches=p.batches, step=p.step, log_step=p.log_step, samples=samples)
        self._trainer._position = p
        self.data = None
        self.epoch_ends = self._begun = False
        self.is_last_batch = self._skip_epoch = False
        self._validated = -1

    def position_at_end(self) -> Position:
        """Where a run goes on that resumes from a file of the exception that ended this one.

        A validation that did not come to its end is run again.
        """
        p = self._trainer._position
        found = self.position_for_file()
        interrupted = p.next is Next.VALIDATE and self._trainer._validation.began_with is not None
        return replace(found, next=Next.VALIDATE, due=()) if interrupted else found

    def _nothing_to_train(self) -> bool:
        t = self._trainer
        if t.limit_train_batches == 0 or not is_overridden("training_step", t.lightning_module):
            return True
        if self.data is None:
            self.data = t._load_training_data()
        state = t._left.take("data")
        if state is not None:
            self._take_up(self.data, state)
        if self.data.num_batches == 0:
            say("Trainer.fit stopped: no training batches")
        return self.data.num_batches == 0

    def _take_up(self, data: TrainingData, state: dict[str, Any]) -> None:
        """Go on where the checkpoint's loaders stood, or end its epoch where those of now have no such place."""
        t, p = self._trainer, self._trainer._position
        why = data.elsewhere(state)
        if "shapes" not in state or t.strategy.all_of(why is None):
            data.load_state_dict(state)
            return
        if p.batch == 0:
            return  # its start is a place that any data has
        self.cut = "ended" if state["ended"] else "cut"
        p.samples += state["samples"] - data.samples(p.batch)
        left = "" if state["ended"] else "without the rest of its batches and without a validation, "
        tell(
            t,
            f"the checkpoint was taken after batch {p.batch} of epoch {p.epoch}, which means something else by now: "
            f"the training data had {why or 'another shape on another rank'}. Epoch {p.epoch} ends here, {left}and "
            f"epoch {p.epoch + 1} is next; to train on in this epoch, give the loader back what it had until then",
        )

    def _own_iteration(self) -> DataloaderIter | None:
        """For a ``training_step(dataloader_iter)``: what it takes its batches from."""
        t, p = self._trainer, self._trainer._position
        if not wants_iterator(t.lightning_module.training_step):
            return None
        assert self.data is not None
        warn_once(
            "training_step takes its batches from dataloader_iter: batch_idx in hooks counts what was taken, and what "
            "was taken but not used is not read again after a resume"
        )
        return DataloaderIter(self._iterator, p.batch, self.data.num_batches)

    def _took_too_much(self, own: DataloaderIter) -> bool:
        """Count what a step took, rather than one batch; whether it found too few."""
        p = self._trainer._position
        assert self.data is not None
        p.batches += own.taken - p.batch
        p.batch = own.taken
        self.is_last_batch = own.ended or self.data.is_last(p.batch)
        return own.ended

    def _count_from_here(self) -> None:
        """An epoch begins: what files say of its progress is counted from now on."""
        t = self._trainer
        self.steps_before, self.schedules_before = t._position.step, t._schedulers.steps
        t._validation.count_from_here()

    def _no_batch(self) -> dict[str, Any] | None:
        """What ``on_train_batch_end`` gets for a batch that is None."""
        warn_once("the training loader gave None instead of a batch, which is skipped")
        return None

    def _done(self) -> bool:
        """Whether training as a whole is over, saying why."""
        t, p = self._trainer, self._trainer._position
        if t.max_steps != -1 and p.step >= t.max_steps:
            say(f"Trainer.fit stopped: max_steps={t.max_steps} reached")
            return True
        if t.max_epochs not in (None, -1) and p.epoch >= t.max_epochs:
            say(f"Trainer.fit stopped: max_epochs={t.max_epochs} reached")
            return True
        return p.next is Next.NOTHING or (self.stops and self.can_stop_early)

    def _over_after_this_epoch(self) -> bool:
        t, p = self._trainer, self._trainer._position
        return 0 <= t.max_steps <= p.step or (t.max_epochs not in (None, -1) and p.epoch + 1 >= t.max_epochs)

    def _unfinished(self) -> bool:
        # A job that was stopped in its last epoch still owes that epoch's end; a file resumed from owes nothing.
        t = self._trainer
        return t._in_job and t._position.next in (Next.BATCH, Next.VALIDATE)

    def _epoch_done(self) -> bool:
        t, p = self._trainer, self._trainer._position
        if t._sigterm and t._control is None and not self.accumulating:
            self.end_by_sigterm()
        if self.is_last_batch or self._skip_epoch or (t.max_steps != -1 and p.step >= t.max_steps):
            return True
        if t.should_stop and self.stops:
            if self.can_stop_early:
                return True
            say_once(
                f"should_stop was set, but training goes on until min_epochs={t.min_epochs} and "
                f"min_steps={t.min_steps} are met"
            )
        return False

    def end_by_sigterm(self) -> NoReturn:
        """A single process ends where it stands; several agree beside the training thread."""
        self._trainer.received_sigterm = True
        raise SIGTERMException

    def _owes_validation(self) -> bool:
        """Whether the end that all ranks just agreed on calls for a validation that has not followed the last batch."""
        t, p = self._trainer, self._trainer._position
        return t._validation.possible and p.batch > 0 and self._validated != p.batches and self._validation_due()

    def _validation_due(self) -> bool:
        t, p = self._trainer, self._trainer._position
        every = t.check_val_every_n_epoch
        if every is not None and (p.epoch + 1) % every != 0:
            return False
        if t.should_stop and self.stops and self.can_stop_early:
            return True
        if t._val_check_seconds is not None:
            return t._clock_says(Ask.VALIDATE, t._validation.seconds_since_last() >= t._val_check_seconds)
        interval = t.val_check_batch
        if interval is None or math.isinf(interval):
            return self.is_last_batch
        return (p.batches if t._val_counts_over_epochs else p.batch) % interval == 0
