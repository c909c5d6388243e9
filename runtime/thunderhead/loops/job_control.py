"""The trainer's side of a job: signs of life, job checkpoints, and stopping when all ranks agreed to.

Per step it stores words into shared memory and compares two integers. Nothing here is a collective of the trainer's;
saving and stopping are agreed on by the job's link.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NoReturn

from thunderhead.checkpoint.layout import refuse_unfillable
from thunderhead.checkpoint.of_job import job_parts
from thunderhead.core.position import Position
from thunderhead.files.staging import detached
from thunderhead.job.board import Phase, Word
from thunderhead.job.errors import InvalidConfiguration, Stopped
from thunderhead.job.link import Ask, CheckpointPolicy, JobLink, Restored
from thunderhead.job.notes import Notes
from thunderhead.job.parts import LOCAL, REPLICATED, Part, Parts
from thunderhead.job.stop import NEVER
from thunderhead.loops.finite import FiniteWatch
from thunderhead.loops.telemetry import Telemetry
from thunderhead.run.control import Control
from thunderhead.run.loaders import estimated_stepping_batches
from thunderhead.run.run import Run
from thunderhead.run.stopping import can_stop_early
from thunderhead.run.training import Training, samples_of

_PUBLISH_EVERY_NS = 1_000_000_000
# Plain numbers: in Python 3.11 to look up a member of an enumeration is a call, and these are written at every step.
_BEAT_NS, _STEP_NS, _BATCH, _STEP = (int(word) for word in (Word.BEAT_NS, Word.STEP_NS, Word.BATCH, Word.STEP))
_REPEAT_UNTIL, _TRAINING_NS, _REPEATED_NS = (
    int(word) for word in (Word.REPEAT_UNTIL, Word.TRAINING_NS, Word.REPEATED_NS)
)


def next_save_step(policy: CheckpointPolicy, step: int) -> int:
    """The first step after ``step`` at which ``every_steps`` asks for a checkpoint: always a multiple of it.

    Every rank computes the same, also after a resume and where a batch makes several steps.
    """
    every = policy.every_steps
    return NEVER if every is None else (step // every + 1) * every


def steps_in_all(run: Run, training: Training) -> int:
    """Optimizer steps of the whole run, -1 if unknown: those that are done, and those that the data of now still gives.

    After a resume with other data (another batch size) the two are of different epochs.
    """
    options, position = run.options, training.position
    whole = estimated_stepping_batches(run, training)
    if whole >= 2**62:
        return -1
    if not run.module.automatic_optimization or options.max_epochs == -1:
        return int(whole)
    batches = float("inf") if training.data is None else training.data.num_batches
    divide_by = options.accumulate_grad_batches
    per_epoch = -(-batches // divide_by)
    over = training.epoch.cut or position.batch >= batches
    in_epoch = per_epoch if over else position.batch // divide_by
    done = position.epoch * per_epoch + in_epoch
    left = max(0, per_epoch * max(options.max_epochs or 1, 1) - done)
    steps = position.step + int(left)
    return min(steps, options.max_steps) if options.max_steps != -1 else steps


class JobControl(Control):
    """One entry point of one trainer, inside a job."""

    def __init__(self, run: Run, training: Training, link: JobLink) -> None:
        super().__init__(run.stop, run.strategy, lambda: can_stop_early(run.options, training.position), link.stop)
        self._run, self._training = run, training
        self._link = link
        self._words = link.board.words
        self._policy = link.policy
        self._saved_step = -1
        self._staged: Parts | None = None
        self._beat_ns = time.monotonic_ns()
        self._publish_ns = 0
        self._save_at = self._next_save_at()
        self._save_step = NEVER
        self._fitting = run.fitting
        self._first_samples = 0
        # Not in the sanity check, before there is anything to save; anywhere in an evaluation that is its own purpose.
        self._may_stop = not self._fitting
        self._notes = Notes(link.board)
        self._curves = run.metrics.curves = link.curves if run.strategy.is_global_zero else None
        self._telemetry = Telemetry(run, training, link.board, self._notes)
        self._finite = FiniteWatch(self._notes, speaks=run.strategy.is_global_zero)

    # --- at the ends ---------------------------------------------------------------------------------------------

    def open(self) -> Restored | None:
        """Read the newest committed checkpoint, if there is one."""
        self.phase(Phase.RESTORING)
        began = time.monotonic_ns()
        restored = self._link.checkpoints.open()
        if restored is None:
            return None
        self._words[Word.RESTORING_NS] += time.monotonic_ns() - began
        local = restored.parts.get(LOCAL)
        if local is None:
            raise InvalidConfiguration(
                f"the checkpoint {restored.uri} was saved by another number of ranks than the "
                f"{self._ranks.world_size} of now; going on with another world size is not built yet. Give the job "
                "its former nodes and processesPerNode, or set checkpoint.resume: Never to begin anew"
            )
        self._saved_step = restored.step
        self._notes.restored(restored)
        # Checkpoints of before there was such a member have none.
        self._finite.resumed(local.tree.get("non_finite_step"))
        return restored

    def begin(self, position: Position) -> None:
        """Everything is restored; training may begin. Refuses what could not be saved."""
        parts = self.state(position)
        self._link.checkpoints.check(parts)
        for state in (parts[REPLICATED].tree["state_dict"], parts[LOCAL].tree["buffers"]):
            refuse_unfillable(state, "state_dict")
        words = self._words
        self._save_step = next_save_step(self._policy, position.step)
        self._first_samples = samples_of(self._training)
        words[Word.FIRST_STEP] = position.step
        if self._curves is not None:
            self._curves.begin(position.log_step)
        words[Word.MAX_STEPS] = steps_in_all(self._run, self._training)
        self._write(position)

    def finish(self, position: Position) -> None:
        """Everything is done: the last commit, if there is something to commit."""
        if self._fitting:
            self._save(position, patience_s=self._policy.last_seconds)
            self._publish(time.monotonic_ns(), wait=True)
        self._link.checkpoints.close()
        self.phase(Phase.DONE)

    def close(self) -> None:
        """The agreement belongs to the job, which may run another entry point."""

    def phase(self, phase: Phase) -> None:
        """Say what this rank does now."""
        self._words[Word.PHASE] = phase
        self._words[Word.BEAT_NS] = time.monotonic_ns()

    def note(self, text: str) -> None:
        """See the base class."""
        self._notes.resumed(text)

    # --- per step ------------------------------------------------------------------------------------------------

    def after_step(self, position: Position, before: int) -> None:
        """A batch is done; ``before`` is the optimizer step it began with."""
        now = time.monotonic_ns()
        words = self._words
        took = now - self._beat_ns
        self._beat_ns = words[_BEAT_NS] = now
        words[_STEP_NS] = took
        words[_BATCH] = position.batch
        words[_STEP] = step = position.step
        if step > words[_REPEAT_UNTIL]:
            words[_TRAINING_NS] += took
        else:
            words[_REPEATED_NS] += took
        training = self._training
        if (loss := training.loss) is not None:
            # Of a view this lets go of the whole before the next batch needs the room.
            training.loss = None
            if self._finite.first is None:
                self._finite.put(before + 1, loss, at_once=training.results.host)
        if now >= self._publish_ns:
            self._publish(now)
        if step != before and (step >= self._save_step or now >= self._save_at):
            self._save_if_due(position)

    def _save_if_due(self, position: Position) -> None:
        if position.step >= self._save_step or self._ranks.world_size == 1:
            self._save(position)
        elif self._ranks.is_global_zero:
            # The others learn of it from the agreement, which also names the step.
            self._save_at = self._next_save_at()
            self._stop.request(Ask.SAVE)

    def before_validation(self, position: Position, *, boundary: bool) -> None:
        """Keep the state aside: should all stop in the middle of validation, this is what is committed.

        In the middle of an accumulation window there is nothing to commit, and validation is not interrupted.
        """
        super().before_validation(position, boundary=boundary)
        if boundary and self._saved_step != position.step:
            self._staged = _kept(self.state(position))
        self.phase(Phase.VALIDATE)

    def in_evaluation(self, position: Position, loader: int, batch: int | None) -> None:
        """Before each evaluation batch, and before the collectives that end a loader (None): may this rank go on?"""
        self._words[Word.BEAT_NS] = time.monotonic_ns()
        super().in_evaluation(position, loader, batch)

    def after_validation(self) -> None:
        """Validation is over; the next step's time begins now."""
        super().after_validation()
        self._staged = None
        self.phase(Phase.TRAIN)
        self._beat_ns = time.monotonic_ns()

    # --- agreement -----------------------------------------------------------------------------------------------

    def _act(self, agreed: Ask, position: Position) -> None:
        if agreed is Ask.SAVE:
            self._save(position)
        elif agreed is Ask.STOP:
            self._stop_here(position)
        else:
            super()._act(agreed, position)

    def _stop_here(self, position: Position) -> NoReturn:
        self.phase(Phase.STOPPING)
        if self._fitting:
            self._save(position, patience_s=self._policy.stop_seconds)
        self._link.checkpoints.close()
        what = f"after step {position.step}; its checkpoint is committed" if self._fitting else "with nothing to commit"
        raise Stopped(f"stopped as asked, {what}")

    # --- saving --------------------------------------------------------------------------------------------------

    def _save(self, position: Position, *, patience_s: float = 0.0) -> None:
        """Commit what is not committed yet. Without patience the run may go on without; the ends may not."""
        self._save_at = self._next_save_at()
        self._save_step = next_save_step(self._policy, position.step)
        if self._saved_step == position.step:
            return
        began = time.monotonic_ns()
        phase = self._words[Word.PHASE]
        self.phase(Phase.CHECKPOINT)
        parts = self._staged if self._staged is not None else self.state(position)
        self._finite.look_at_all(self._run.module, position.step)
        skipped = self._link.checkpoints.save(
            _with_finite(parts, self._finite.first),
            step=position.step,
            position=parts[REPLICATED].tree["position"],
            patience_s=patience_s,
            non_finite_step=self._finite.first,
        )
        self._finite.heard(self._link.checkpoints.non_finite_step)
        self._notes.saved(skipped)
        if skipped is None:
            self._saved_step = position.step
            self._staged = None
        self._words[Word.CHECKPOINT_NS] += time.monotonic_ns() - began
        self._words[Word.PHASE] = phase
        self._beat_ns = time.monotonic_ns()
        self._words[Word.BEAT_NS] = self._beat_ns

    def _next_save_at(self) -> int:
        seconds = self._policy.every_seconds
        return 2**63 - 1 if seconds is None else time.monotonic_ns() + int(seconds * 1e9)

    def state(self, position: Position) -> Parts:
        """What is committed at ``position``, with live tensors."""
        should_stop = self.finishing if self._ranks.world_size > 1 else self._run.stop.asked
        return job_parts(self._run, self._training, position, should_stop=should_stop)

    # --- telling -------------------------------------------------------------------------------------------------

    def _write(self, position: Position) -> None:
        words = self._words
        words[Word.EPOCH] = position.epoch
        words[Word.STEP] = position.step
        words[Word.BATCH] = position.batch
        words[Word.BEAT_NS] = time.monotonic_ns()

    def epoch(self, position: Position) -> None:
        """An epoch begins."""
        self._write(position)
        self.phase(Phase.TRAIN)
        self._beat_ns = time.monotonic_ns()

    def _publish(self, now: int, *, wait: bool = False) -> None:
        self._publish_ns = now + _PUBLISH_EVERY_NS
        samples = samples_of(self._training) - self._first_samples
        wait = wait or self._training.results.host
        self._telemetry.publish(now, samples, wait=wait)
        self._finite.look(wait=wait)


def _kept(parts: Parts) -> Parts:
    """A copy that training does not change; tensors that parts have in common stay so."""
    trees = detached({name: part.tree for name, part in parts.items()})
    return {name: Part(trees[name], part.kind) for name, part in parts.items()}


def _with_finite(parts: Parts, first: int | None) -> Parts:
    """Also what was seen since the state was taken: the first step, on this rank, with what is no number."""
    local = parts[LOCAL]
    return {**parts, LOCAL: replace(local, tree={**local.tree, "non_finite_step": first})}
