"""The seam between a trainer that runs inside a job and whatever runs it.

The trainer knows only this protocol. The agent's worker implements it over shared memory and the checkpoint store; a
script started by hand has no link at all, and the trainer then does none of this work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from thunderhead.job.board import Board
from thunderhead.job.parts import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A committed checkpoint that is newer than the restored one and could not be read back whole.

    Attributes:
        step: optimizer steps done when it was taken.
        uri: where its manifest lies, or lay.
        why: what is wrong with it, in one line.
    """

    step: int
    uri: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """One committed job checkpoint, read back and verified.

    Attributes:
        step: optimizer steps done when it was taken.
        parts: by the name each was saved under. Local ones are missing where another number of ranks saved the
            checkpoint, so that none of them belongs to this rank.
        uri: where its manifest lies.
        passed_over: what was given up for it, newest first; told to rank 0 alone.
    """

    step: int
    parts: Parts
    uri: str
    passed_over: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A checkpoint that was due and that all ranks, by agreement, went on without: the store did not take it.

    Attributes:
        step: after which it was due.
        why: what the store said, in one line.
        in_a_row: how many have been skipped since the newest commit, this one included.
    """

    step: int
    why: str
    in_a_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """When a job checkpoint is due; ``None`` switches a trigger off.

    Suspend, drain and the end of training always save, and do not go on without.

    Attributes:
        every_steps: after so many optimizer steps.
        every_seconds: when so many seconds have passed since the last.
        stop_seconds: how long the commit of a stop is tried: the grace period, at the end of which we are killed.
        last_seconds: how long the commit at the end of training is tried.
        module_settings: a resume takes the settings that configure_optimizers makes now, not the checkpoint's.
    """

    every_steps: int | None = None
    every_seconds: float | None = None
    stop_seconds: float = 120.0
    last_seconds: float = 180.0
    module_settings: bool = False


class JobCheckpoints(Protocol):
    """Committed checkpoints of one job, seen from one rank. Every method is called by every rank, in the same order."""

    @property
    def non_finite_step(self) -> int | None:
        """The earliest that any rank has said in a save; the newest acknowledged one tells all of them."""
        ...

    def open(self) -> Restored | None:
        """Claim this execution, choose the newest checkpoint that counts, and read it.

        Returns ``None`` only where the lineage holds no commit at all (or ``resume: Never``).

        Raises:
            Superseded: a newer execution has claimed the job, or another process this very execution.
            StorageRefused: the store denies us or its bucket is missing.
            NothingRestorable: commits exist, yet none of them verifies.
        """
        ...

    def check(self, parts: Parts) -> None:
        """Dry run before the first step: refuse what could not be saved, or not restored without pickle.

        Raises:
            UnsupportedState: naming the path and the type.
            InvalidConfiguration: a part of a kind that is not saved (``sharded``).
        """
        ...

    def save(
        self,
        parts: Parts,
        *,
        step: int,
        position: Mapping[str, Any],
        patience_s: float = 0.0,
        non_finite_step: int | None = None,
    ) -> Skipped | None:
        """Stage, upload and commit one checkpoint; returns ``None`` once it is acknowledged.

        Steps never fall. State is a function of the step: saving the newest acknowledged step again writes nothing.
        ``position`` is plain JSON for people, kept in the manifest; what restoring needs is in ``parts``.

        Where the store does not take it, all ranks learn so together. Without ``patience_s`` training goes on without
        this checkpoint; with it, the same one is tried again for so many seconds, and nothing is ever skipped.
        ``non_finite_step``: the first step whose loss, or after which a parameter, was no number, as far as this rank
        knows; the newest checkpoint of which no rank knows any is kept, whatever follows it.

        Raises:
            Superseded: a newer execution has claimed the job; the caller must end.
            StorageRefused: the store denies us, for longer than is tolerated.
            StorageUnavailable: it did not answer within ``patience_s``.
        """
        ...

    def close(self) -> None:
        """Wait until everything handed over is acknowledged; raise what went wrong."""
        ...


class Ask(IntEnum):
    """What all ranks agree to do after one and the same step; of several, the highest comes first."""

    SAVE = 1  # take a job checkpoint and go on
    WRITE = 2  # write a .ckpt file that is due by the clock
    VALIDATE = 3  # run a validation that is due by the clock
    REQUEUE = 4  # write a .ckpt file and have the scheduler start the job again
    FINISH = 5  # end training as if it were complete (a time limit)
    STOP = 6  # take a job checkpoint and raise Stopped


class StopControl(Protocol):
    """The agreement of all ranks on a moment, made beside the training thread (no collective, no call per step).

    Moments are counted in *ticks*, which every rank passes in the same order: boundaries between optimizer steps, and
    batches of the evaluations between them (see ``thunderhead.job.stop``).

    Attributes:
        running: first tick that this rank has not passed; the trainer writes it, then compares the tick it stands at
            with ``limit``.
        limit: tick that this rank must not pass undecided; a very large number while nobody asks. A plain attribute.
    """

    running: int
    limit: int

    def resolve(self, tick: int) -> Ask | None:
        """Called where ``tick >= limit``: waits for the decision.

        Returns what all ranks do at this tick, or None to go on (``limit`` has moved).

        Raises:
            NoAgreement: a rank did not answer in time; the newest commit stands.
        """
        ...

    def request(self, ask: Ask) -> None:
        """Ask for something on behalf of all ranks; returns at once."""
        ...


class CurveRecorder(Protocol):
    """Keeps what the trainer of rank 0 sends to its loggers, for curves over all attempts."""

    def begin(self, step: int) -> None:
        """Training goes on at this x of the loggers."""
        ...

    def add(self, values: Mapping[str, float], step: int, epoch: int | None) -> None:
        """One record at ``step``; ``epoch`` is None where x is not the run's."""
        ...


class JobLink(Protocol):
    """What a trainer gets from the job it runs in.

    A worker passes it to ``thunderhead.job.attach`` before any Trainer is made; every Trainer made afterwards in that
    process reports to it, so scripts need not know of it.
    """

    board: Board
    checkpoints: JobCheckpoints
    policy: CheckpointPolicy
    stop: StopControl
    curves: CurveRecorder | None
