"""The trainer's side of a job: signs of life, job checkpoints, and stopping when all ranks agreed to.

Per step it stores words into shared memory and compares two integers. Nothing here is a collective of the trainer's;
saving and stopping are agreed on by the job's link.
"""

from __future__ import annotations

import time
from typing import Any, NoReturn

import torch

from thunderhead.checkpoint.content import OWN_KEY, counters_of, dump, restore_counters
from thunderhead.checkpoint.layout import refuse_unfillable
from thunderhead.core.position import Position
from thunderhead.files.staging import detached
from thunderhead.job.board import Phase, Word
from thunderhead.job.errors import InvalidConfiguration, Stopped
from thunderhead.job.link import Ask, CheckpointPolicy, JobLink, Restored
from thunderhead.job.notes import Notes
from thunderhead.job.stop import NEVER
from thunderhead.loops.finite import FiniteWatch
from thunderhead.loops.telemetry import Telemetry
from thunderhead.results.metric_objects import MetricsOf
from thunderhead.rng import capture_rng
from thunderhead.run.control import Control
from thunderhead.run.ending import can_stop_early
from thunderhead.run.loaders import estimated_stepping_batches, training_data_state, validation_data_state
from thunderhead.run.run import Run
from thunderhead.run.training import Training, samples_of
from thunderhead.warning import warn

_PUBLISH_EVERY_NS = 1_000_000_000
# Written by every rank alike; all other keys of the content may differ between ranks.
_REPLICATED = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "optimizer_states", "lr_schedulers")
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
        self._staged: tuple[Any, Any] | None = None
        self._beat_ns = time.monotonic_ns()
        self._publish_ns = 0
        self._save_at = self._next_save_at()
        self._save_step = NEVER
        self._fitting = run.fitting
        self._first_samples = 0
        # Not in the sanity check, before there is anything to save; anywhere in an evaluation that is its own purpose.
        self._may_stop = not self._fitting
        self._notes = Notes(link.board)
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
        if restored.local is None:
            raise InvalidConfiguration(
                f"the checkpoint {restored.uri} was saved by another number of ranks than the "
                f"{self._ranks.world_size} of now; going on with another world size is not built yet. Give the job "
                "its former nodes and processesPerNode, or set checkpoint.resume: Never to begin anew"
            )
        self._saved_step = restored.step
        self._notes.restored(restored)
        # Checkpoints of before there was such a member have none.
        self._finite.resumed(restored.local.get("non_finite_step"))
        return restored

    def begin(self, position: Position) -> None:
        """Everything is restored; training may begin. Refuses what could not be saved."""
        replicated, local = self.state(position)
        self._link.checkpoints.check(replicated, local)
        for state in (replicated["state_dict"], local["buffers"]):
            refuse_unfillable(state, "state_dict")
        words = self._words
        self._save_step = next_save_step(self._policy, position.step)
        self._first_samples = samples_of(self._training)
        words[Word.FIRST_STEP] = position.step
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
            self._staged = detached(self.state(position))
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
        replicated, local = self._staged if self._staged is not None else self.state(position)
        self._finite.look_at_all(self._run.module, position.step)
        skipped = self._link.checkpoints.save(
            replicated,
            {**local, "non_finite_step": self._finite.first},
            step=position.step,
            position=replicated["position"],
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

    def state(self, position: Position) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(replicated, local)``: what all ranks share, and what belongs to this one."""
        run, training = self._run, self._training
        run.strategy.sync_buffers(run.module)
        content = dump(run, training, position, for_job=True)
        buffers = run.strategy.local_buffers(run.module)
        content["state_dict"] = {k: v for k, v in content["state_dict"].items() if k not in buffers}
        replicated = {key: content.pop(key) for key in _REPLICATED}
        replicated["position"] = position.state_dict()
        replicated["settings"] = training.optimizers.made
        replicated["should_stop"] = self.finishing if self._ranks.world_size > 1 else run.stop.asked
        local = {
            "rng": capture_rng(),
            "data": training_data_state(training, position),
            "validation_data": validation_data_state(training),
            "results": training.results.state_dict(),
            "metrics": run.metrics.state_dict(),
            "buffers": buffers,
            "counters": counters_of(run, training, position),
            "threads": torch.get_num_threads(),
            "content": {key: value for key, value in content.items() if key != "loops"},
        }
        return replicated, local

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


def content_of(restored: Restored) -> dict[str, Any]:
    """The restored state under the keys of a ``.ckpt`` file, so that both are put back by the same functions."""
    content = {**restored.local["content"], **{key: restored.replicated[key] for key in _REPLICATED}}
    content["state_dict"] = {**content["state_dict"], **restored.local["buffers"]}
    # Checkpoints of before there were settings have none.
    settings = restored.replicated.get("settings")
    content[OWN_KEY] = {
        "position": restored.replicated["position"],
        "settings": settings,
        "data": restored.local["data"],
    }
    content["loops"] = {}
    return content


def restore_local(run: Run, training: Training, restored: Restored) -> None:
    """Put back what belongs to this rank, but for its random state, which must come last."""
    local = restored.local
    run.stop.asked = restored.replicated["should_stop"]
    if local["threads"] != torch.get_num_threads():
        warn(f"using {local['threads']} threads, as the run being resumed did, instead of {torch.get_num_threads()}")
        torch.set_num_threads(local["threads"])
    training.results.load_state_dict(local["results"], MetricsOf(run.module))
    run.metrics.load_state_dict(local["metrics"])
    if "counters" in local:
        restore_counters(training, local["counters"])
    training.left.leave({"validation_data": local["validation_data"], "random": local["rng"]})
