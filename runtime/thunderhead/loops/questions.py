"""How far training has come: what the loop asks itself at each turn, and what others ask the loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from thunderhead.checkpoint.reconcile import tell
from thunderhead.core.position import Next
from thunderhead.data.source import TrainingData
from thunderhead.hooks.overriding import is_overridden
from thunderhead.job.link import Ask
from thunderhead.loops.evaluate import EvaluationLoop
from thunderhead.loops.own_iteration import DataloaderIter
from thunderhead.loops.signature import wants_iterator
from thunderhead.run.loaders import load_training_data
from thunderhead.run.run import Run
from thunderhead.run.stopping import can_stop_early, clock_says, end_by_sigterm
from thunderhead.run.training import Training, accumulating
from thunderhead.warning import say, say_once, warn_once


class Progress:
    """Questions about a fit, answered from its position, its limits and its data.

    Args:
        run: the entry point.
        training: what it carries.
        validation: the loop that validates in between.
    """

    def __init__(self, run: Run, training: Training, validation: EvaluationLoop) -> None:
        self._run = run
        self._training = training
        self._epoch = training.epoch
        self._validation = validation
        assert training.optimizers.schedulers is not None, "a fit makes its optimizers before its loop"
        self._schedulers = training.optimizers.schedulers
        self._iterator: Iterator[Any] = iter(())

    @property
    def stops(self) -> bool:
        """Whether training is to end early; of several ranks, once all know."""
        run = self._run
        alone = run.control is None or run.strategy.world_size == 1
        return run.stop.asked if run.control is None or alone else run.control.finishing

    @property
    def can_stop_early(self) -> bool:
        """Whether ``min_epochs`` and ``min_steps`` are met, so that ``should_stop`` counts."""
        return can_stop_early(self._run.options, self._training.position)

    @property
    def validation_follows(self) -> bool:
        """Whether validation runs right after the batch that just ended."""
        return self._training.validation.possible and self._validation_due()

    @property
    def batches_done(self) -> int:
        """Batches trained in the running epoch."""
        return self._training.position.batch

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch being trained is the epoch's last."""
        return self._epoch.is_last_batch

    def _nothing_to_train(self) -> bool:
        run, training = self._run, self._training
        if run.options.limit_train_batches == 0 or not is_overridden("training_step", run.module):
            return True
        if training.data is None:
            training.data = load_training_data(run, training)
        state = training.left.take("data")
        if state is not None:
            self._take_up(training.data, state)
        if training.data.num_batches == 0:
            say("Trainer.fit stopped: no training batches")
        return training.data.num_batches == 0

    def _take_up(self, data: TrainingData, state: dict[str, Any]) -> None:
        """Go on where the checkpoint's loaders stood, or end its epoch where those of now have no such place."""
        run, p = self._run, self._training.position
        why = data.elsewhere(state)
        if "shapes" not in state or run.strategy.all_of(why is None):
            data.load_state_dict(state)
            return
        if p.batch == 0:
            return  # its start is a place that any data has
        self._epoch.cut = "ended" if state["ended"] else "cut"
        p.samples += state["samples"] - data.samples(p.batch)
        left = "" if state["ended"] else "without the rest of its batches and without a validation, "
        tell(
            run.control,
            f"the checkpoint was taken after batch {p.batch} of epoch {p.epoch}, which means something else by now: "
            f"the training data had {why or 'another shape on another rank'}. Epoch {p.epoch} ends here, {left}and "
            f"epoch {p.epoch + 1} is next; to train on in this epoch, give the loader back what it had until then",
        )

    def _own_iteration(self) -> DataloaderIter | None:
        """For a ``training_step(dataloader_iter)``: what it takes its batches from."""
        p, data = self._training.position, self._training.data
        if not wants_iterator(self._run.module.training_step):
            return None
        assert data is not None
        warn_once(
            "training_step takes its batches from dataloader_iter: batch_idx in hooks counts what was taken, and what "
            "was taken but not used is not read again after a resume"
        )
        told = self._training.results.take_size_of
        return DataloaderIter(self._iterator, p.batch, data.num_batches, told=told)

    def _took_too_much(self, own: DataloaderIter) -> bool:
        """Count what a step took, rather than one batch; whether it found too few."""
        p, data = self._training.position, self._training.data
        assert data is not None
        p.batches += own.taken - p.batch
        p.batch = own.taken
        self._epoch.is_last_batch = own.ended or data.is_last(p.batch)
        return own.ended

    def _count_from_here(self) -> None:
        """An epoch begins: what files say of its progress is counted from now on."""
        epoch = self._epoch
        epoch.steps_before, epoch.schedules_before = self._training.position.step, self._schedulers.steps
        self._training.validation.begin_epoch()

    def _no_batch(self) -> dict[str, Any] | None:
        """What ``on_train_batch_end`` gets for a batch that is None."""
        warn_once("the training loader gave None instead of a batch, which is skipped")
        return None

    def _done(self) -> bool:
        """Whether training as a whole is over, saying why."""
        options, p = self._run.options, self._training.position
        if options.max_steps != -1 and p.step >= options.max_steps:
            say(f"Trainer.fit stopped: max_steps={options.max_steps} reached")
            return True
        if options.max_epochs not in (None, -1) and p.epoch >= options.max_epochs:
            say(f"Trainer.fit stopped: max_epochs={options.max_epochs} reached")
            return True
        return p.next is Next.NOTHING or (self.stops and self.can_stop_early)

    def _over_after_this_epoch(self) -> bool:
        options, p = self._run.options, self._training.position
        over = options.max_epochs not in (None, -1) and p.epoch + 1 >= options.max_epochs
        return 0 <= options.max_steps <= p.step or over

    def _unfinished(self) -> bool:
        # A job that was stopped in its last epoch still owes that epoch's end; a file resumed from owes nothing.
        return self._run.in_job and self._training.position.next in (Next.BATCH, Next.VALIDATE)

    def _epoch_done(self) -> bool:
        run, options, epoch = self._run, self._run.options, self._epoch
        if run.stop.sigterm and run.control is None and not self._accumulating():
            end_by_sigterm(run)
        max_steps = options.max_steps
        if epoch.is_last_batch or epoch.skip or (max_steps != -1 and self._training.position.step >= max_steps):
            return True
        if run.stop.asked and self.stops:
            if self.can_stop_early:
                return True
            say_once(
                f"should_stop was set, but training goes on until min_epochs={options.min_epochs} and "
                f"min_steps={options.min_steps} are met"
            )
        return False

    def _accumulating(self) -> bool:
        return accumulating(self._training, self._run.options.accumulate_grad_batches)

    def _owes_validation(self) -> bool:
        """Whether the end that all ranks just agreed on calls for a validation that has not followed the last batch."""
        p = self._training.position
        if not self._training.validation.possible or p.batch == 0 or self._epoch.validated == p.batches:
            return False
        return self._validation_due()

    def _validation_due(self) -> bool:
        run, training, options = self._run, self._training, self._run.options
        p, every = training.position, options.check_val_every_n_epoch
        if every is not None and (p.epoch + 1) % every != 0:
            return False
        if run.stop.asked and self.stops and self.can_stop_early:
            return True
        if options.val_check_seconds is not None:
            return clock_says(run, Ask.VALIDATE, training.validation.seconds_since_last() >= options.val_check_seconds)
        interval = training.val_check_batch
        if interval is None or math.isinf(interval):
            return self._epoch.is_last_batch
        return (p.batches if training.counts_over_epochs else p.batch) % interval == 0
