"""What the boards of this node's workers say, sampled; and what follows from watching them over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from thunderhead.job.board import Board, Phase, Word
from thunderhead.job.notes import Note
from thunderhead_api.messages import CommittedCheckpoint, PassedOverCheckpoint, RankStatus, SkippedCheckpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One board at one moment. Steps count optimizer steps; -1 where the worker does not know yet."""

    rank: int
    phase: Phase
    epoch: int
    step: int
    age_s: float
    step_s: float
    max_steps: int
    first_step: int
    commit: CommittedCheckpoint | None
    samples: int
    training_s: float
    checkpoint_s: float
    repeated_s: float
    restoring_s: float
    first_step_at: float | None
    last_step_at: float | None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Steps of this execution."""
        return max(0, self.step - self.first_step) if self.first_step >= 0 else 0

    @property
    def resumed(self) -> list[str]:
        """What the resume made of edits."""
        return list(self.notes.get(Note.RESUMED, ()))

    @property
    def skipped(self) -> SkippedCheckpoints | None:
        """Checkpoints that the store did not take; ``None`` while there is none."""
        total = self.notes.get(Note.SKIPPED, 0)
        if not total:
            return None
        why = self.notes.get(Note.WHY_SKIPPED) or None
        return SkippedCheckpoints(total=total, in_a_row=self.notes.get(Note.SKIPPED_IN_A_ROW, 0), why=why)

    @property
    def non_finite_step(self) -> int | None:
        """The first step whose loss, or after which a parameter, was no number, as far as this rank knows."""
        return self.notes.get(Note.NON_FINITE_STEP)

    @property
    def left_out(self) -> int:
        """Logged values that found no room on the board."""
        return int(self.notes.get(Note.LEFT_OUT, 0))

    @property
    def passed_over(self) -> list[PassedOverCheckpoint]:
        """Newer commits that were given up as this execution began."""
        return [PassedOverCheckpoint(**one) for one in self.notes.get(Note.PASSED_OVER, ())]

    def status(self, node_rank: int) -> RankStatus:
        """As it is reported."""
        return RankStatus(
            rank=self.rank,
            node_rank=node_rank,
            phase=phase_name(self.phase),
            step=self.step,
            age_seconds=round(self.age_s, 3),
            step_seconds=round(self.step_s, 6),
            non_finite_step=self.non_finite_step,
        )


def phase_name(phase: Phase) -> str:
    """``Train`` for ``Phase.TRAIN``."""
    return phase.name.capitalize()


@dataclass(slots=True)
class BoardWatch:
    """One board, sampled again and again; remembers when steps were first and last seen to move."""

    rank: int
    board: Board
    born_ns: int
    first_step_at: float | None = None
    last_step_at: float | None = None
    _step: int = -1
    _metrics_seq: int = 0
    _metrics: dict[str, float] = field(default_factory=dict)
    _commit_seq: int = 0
    _commit: CommittedCheckpoint | None = None
    _notes_seq: int = 0
    _notes: dict[str, Any] = field(default_factory=dict)

    def read(self, *, monotonic_ns: int, unix_s: float) -> Reading:
        """Sample the board. Costs a few dozen loads from shared memory."""
        words = self.board.words
        step, first, beat = words[Word.STEP], words[Word.FIRST_STEP], words[Word.BEAT_NS] or self.born_ns
        age_s = max(0.0, (monotonic_ns - beat) / 1e9)
        if 0 <= first < step != self._step:
            # The worker beats as it finishes a step, so the beat's age dates the step better than our own sampling.
            self.last_step_at = unix_s - age_s
            self.first_step_at = self.first_step_at or self.last_step_at
        self._step = step
        return Reading(
            rank=self.rank,
            phase=_phase(words[Word.PHASE]),
            epoch=words[Word.EPOCH],
            step=step,
            age_s=age_s,
            step_s=words[Word.STEP_NS] / 1e9,
            max_steps=words[Word.MAX_STEPS],
            first_step=first,
            commit=self._newest_commit(),
            samples=words[Word.SAMPLES],
            training_s=words[Word.TRAINING_NS] / 1e9,
            checkpoint_s=words[Word.CHECKPOINT_NS] / 1e9,
            repeated_s=words[Word.REPEATED_NS] / 1e9,
            restoring_s=words[Word.RESTORING_NS] / 1e9,
            first_step_at=self.first_step_at,
            last_step_at=self.last_step_at,
            notes=self._newest_notes(),
        )

    def metrics(self) -> dict[str, float]:
        """The logged metrics; parsed again only when they changed."""
        seq = self.board.words[Word.METRICS_SEQ]
        if seq != self._metrics_seq and seq % 2 == 0:
            self._metrics, self._metrics_seq = self.board.metrics(), seq
        return self._metrics

    def _newest_notes(self) -> Mapping[str, Any]:
        seq = self.board.words[Word.NOTES_SEQ]
        if seq != self._notes_seq and seq % 2 == 0:
            self._notes, self._notes_seq = self.board.notes(), seq
        return self._notes

    def _newest_commit(self) -> CommittedCheckpoint | None:
        seq = self.board.words[Word.COMMIT_SEQ]
        if seq != self._commit_seq and seq % 2 == 0:
            found = self.board.commit()
            self._commit_seq = seq
            self._commit = (
                CommittedCheckpoint(uri=found["uri"], step=found["step"], committed_at=whole_seconds(found["at"]))
                if found is not None
                else None
            )
        return self._commit


def whole_seconds(unix_s: float) -> str:
    """A moment as RFC 3339 in UTC, as Kubernetes writes it."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _phase(word: int) -> Phase:
    """A worker of a newer version may know phases that we do not."""
    return Phase(word) if word in Phase._value2member_map_ else Phase.STARTING
