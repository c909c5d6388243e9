"""A sweep's life: start, look, judge, until there are as many trials as asked for or the user wants out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from optuna.trial import Trial

from thunderhead_cli.local.progress_line import ProgressLine
from thunderhead_cli.sweep.file import SweepFile
from thunderhead_cli.sweep.runner import Runner, Seen, Stand
from thunderhead_cli.sweep.study import ENDED, WHY, Study
from thunderhead_cli.sweep.trial_job import Values, trial_job

LOOK_SECONDS: Final = 0.5
"""How often trials are looked at when none of them ends."""


@dataclass(slots=True)
class _Running:
    trial: Trial
    epochs: set[int] = field(default_factory=set)
    last: float | None = None
    is_new: bool = False
    pruned: bool = False
    seen: Seen = field(default_factory=lambda: Seen(stand=Stand.RUNNING))


@dataclass(slots=True)
class Drive:
    """The trials of one command.

    Attributes:
        sweep: what is asked for.
        job: of the job file.
        study: where trials are kept.
        runner: where they run.
        line: where the user reads.
        changed: set when something ended.
        look_seconds: between two looks.
        killed: the user would not wait for checkpoints.
    """

    sweep: SweepFile
    job: Mapping[str, Any]
    study: Study
    runner: Runner
    line: ProgressLine
    changed: asyncio.Event
    look_seconds: float = LOOK_SECONDS
    killed: bool = False
    _running: dict[int, _Running] = field(default_factory=dict)
    _stops: int = 0

    @property
    def stopped(self) -> bool:
        """Whether the user ended it before its last trial."""
        return self._stops > 0

    def ask_to_stop(self) -> None:
        """Ctrl-C or SIGTERM: the first asks every trial for a checkpoint, the second ends all at once."""
        self._stops += 1
        if self._stops == 1:
            self.line.say("stopping: every trial commits a checkpoint (Ctrl-C again kills them)")
        self.changed.set()

    async def run_to_end(self) -> None:
        """Drive trials until all are ended, or stopped."""
        left = self.study.running()
        told_to_stop = False
        try:
            while True:
                if not self.stopped:
                    await self._fill(left)
                elif not told_to_stop:
                    told_to_stop = True
                    await self._each(self.runner.stop)
                if not self._running or self._stops > 1:
                    return
                await self._wait()
                for number, seen in (await self.runner.look(list(self._running))).items():
                    await self._judge(number, seen)
                self._show()
        finally:
            if self._running:
                self.killed = True
                await self.runner.kill()
            self.line.close()

    async def _fill(self, left: list[Trial]) -> None:
        while len(self._running) < self.sweep.parallel:
            going_on = bool(left)
            if left:
                trial = left.pop(0)
            elif len(self.study.trials) < self.sweep.trials and not self.study.tried_all:
                trial = self.study.ask()
            else:
                return
            epochs = set(self.study.trials[trial.number].intermediate_values)
            self._running[trial.number] = _Running(trial, epochs)
            verb = "goes on" if going_on else "starts"
            self.line.say(f"trial {trial.number} {verb}: {values_shown(trial.params)}")
            await self.runner.start(trial.number, trial_job(self.job, self.sweep.name, trial.number, trial.params))

    async def _judge(self, number: int, seen: Seen) -> None:
        running = self._running[number]
        running.seen = seen
        self._read(running, seen)
        if seen.stand is Stand.RUNNING:
            if self._is_to_end(running, seen):
                running.pruned = True
                self.line.say(f"trial {number} is ended early: {self.sweep.objective.metric}={running.last:.4g}")
                await self.runner.stop(number)
            return
        del self._running[number]
        if seen.stand is Stand.STOPPED and not running.pruned:
            if not self.stopped:  # suspended by somebody else, for whom the next command waits
                self._stops += 1
            return
        self._settle(running, seen)

    def _settle(self, running: _Running, seen: Seen) -> None:
        number = running.trial.number
        self.study.note_steps(running.trial, seen.step)
        if seen.stand is Stand.COMPLETE:
            value = self.study.complete(running.trial, seen.metrics)
            best = self.study.best
            if value is not None and best is not None:
                so_far = "the best so far" if best.number == number else f"best: trial {best.number}, {best.value:.4g}"
                self.line.say(f"trial {number} is complete: {self.sweep.objective.metric}={value:.4g}; {so_far}")
                return
        elif seen.stand is Stand.STOPPED:
            self.study.prune(running.trial)
            return
        else:
            self.study.fail(running.trial, seen.why)
        why = self.study.trials[number].user_attrs.get(WHY, seen.why)
        self.line.say(f"trial {number} failed: {why}")

    def _read(self, running: _Running, seen: Seen) -> None:
        value = seen.metrics.get(self.sweep.objective.metric)
        number = float(value) if isinstance(value, (int, float)) else running.last
        running.is_new, running.last = number != running.last, number

    def _is_to_end(self, running: _Running, seen: Seen) -> bool:
        """Judged once an epoch, by the first new value that is seen in it."""
        if running.last is None or not running.is_new or running.pruned or seen.epoch in running.epochs or self.stopped:
            return False
        running.epochs.add(seen.epoch)
        return self.study.report(running.trial, running.last, seen.epoch)

    async def _each(self, act: Callable[[int], Any]) -> None:
        await asyncio.gather(*(act(number) for number in self._running))

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self.changed.wait(), self.look_seconds)
        except TimeoutError:
            return
        self.changed.clear()

    def _show(self) -> None:
        done = sum(trial.state in ENDED for trial in self.study.trials)
        parts = [f"{done} of {self.sweep.trials} trials ended"]
        for number, running in self._running.items():
            value = "" if running.last is None else f" {self.sweep.objective.metric}={running.last:.4g}"
            parts.append(f"{number}: epoch {running.seen.epoch} step {running.seen.step}{value}")
        self.line.show("  ".join(parts))


def values_shown(values: Values) -> str:
    """The chosen values, the last word of each path being enough where no other ends so."""
    short = {path: path.rpartition(".")[2] for path in values}
    names = list(short.values())
    shown = {path: (name if names.count(name) == 1 else path) for path, name in short.items()}
    return "  ".join(f"{shown[path]}={_value(value)}" for path, value in values.items())


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
