"""One page of shared memory per worker process: what it is doing, read by the agent without asking.

A write is one store into a mapped array of 64-bit integers: no system call, no lock, no allocation, so it may stand in
the training loop. One writer per word. Aligned 8-byte stores are not torn on the platforms PyTorch supports.
Messages (metrics, outcome, commit, notes) use a sequence word: odd while being written, even when whole.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

_WORDS: Final = 64
_METRICS_AT: Final = _WORDS * 8
_METRICS_SIZE: Final = 16 * 1024
_OUTCOME_AT: Final = _METRICS_AT + _METRICS_SIZE
_OUTCOME_SIZE: Final = 16 * 1024
_COMMIT_AT: Final = _OUTCOME_AT + _OUTCOME_SIZE
_COMMIT_SIZE: Final = 16 * 1024  # an address of the longest kind, each character six bytes of JSON
_NOTES_AT: Final = _COMMIT_AT + _COMMIT_SIZE
_NOTES_SIZE: Final = 32 * 1024
BOARD_SIZE: Final = _NOTES_AT + _NOTES_SIZE


class Word(IntEnum):
    """Index of each word. The worker writes all of them but STOP and REPEAT_UNTIL, which the agent writes."""

    STOP = 0  # 0, or 1 once this worker's node has been asked to stop
    PHASE = 1  # a Phase
    EPOCH = 2  # epoch being trained, from 0
    STEP = 3  # optimizer steps done
    BATCH = 4  # batches of this epoch done
    BEAT_NS = 5  # time.monotonic_ns() of the last sign of life (same clock as the agent's: one host)
    STEP_NS = 6  # duration of the last step
    MAX_STEPS = 7  # steps in the whole run, -1 if unknown
    FIRST_STEP = 8  # step this execution started from, -1 before it is known
    COMMITTED_STEP = 9  # step of the newest acknowledged checkpoint, -1 if none
    COMMITTED_AT = 10  # Unix time of that acknowledgement, in seconds
    SAMPLES = 11  # samples this rank has trained on in this execution
    TRAINING_NS = 12  # time spent in steps that were not repetitions, for goodput
    METRICS_SEQ = 13
    OUTCOME_SEQ = 14
    CHECKPOINT_NS = 15  # time the training thread was blocked by checkpoints
    REPEAT_UNTIL = 16  # highest step an earlier execution reached; steps up to it are repetitions. The agent writes it
    COMMIT_SEQ = 17
    NOTES_SEQ = 18
    REPEATED_NS = 19  # time spent in steps that were repetitions
    RESTORING_NS = 20  # time spent in reading a checkpoint back


class Phase(IntEnum):
    """What a rank is doing. Only TRAIN promises steps; the others are slow and not hung."""

    STARTING = 0
    RENDEZVOUS = 1
    RESTORING = 2
    TRAIN = 3
    VALIDATE = 4
    CHECKPOINT = 5
    TEST = 6
    PREDICT = 7
    STOPPING = 8
    DONE = 9
    BUILDING = 10  # importing the user's code, building module, datamodule and trainer, preparing data


class Board:
    """The page itself. ``Board.create`` in the agent, ``Board.attach`` in the worker, by path."""

    def __init__(self, path: Path, buffer: mmap.mmap) -> None:
        self.path = path
        self._buffer = buffer
        self.words: memoryview = memoryview(buffer)[: _WORDS * 8].cast("q")

    @classmethod
    def create(cls, path: Path) -> Board:
        """Make a fresh page at ``path`` (on a memory file system) and map it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(fd, BOARD_SIZE)
            board = cls(path, mmap.mmap(fd, BOARD_SIZE))
        finally:
            os.close(fd)
        for word in (Word.MAX_STEPS, Word.FIRST_STEP, Word.COMMITTED_STEP):
            board.words[word] = -1
        return board

    @classmethod
    def attach(cls, path: Path) -> Board:
        """Map the page that the agent made.

        Raises:
            FileNotFoundError: no page at ``path``.
        """
        fd = os.open(path, os.O_RDWR)
        try:
            return cls(path, mmap.mmap(fd, BOARD_SIZE))
        finally:
            os.close(fd)

    def publish_metrics(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Replace the metrics (name → value, NaN allowed) by those that fit 16 KiB of JSON, in the order given.

        Returns what was published: what does not fit is left out, and never a reason to end training.
        """
        fitting: dict[str, float] = {}
        left = _METRICS_SIZE - 8 - len("{}")
        for name, value in metrics.items():
            size = len(json.dumps({name: value}))  # its braces are as long as the ", " between two members
            if size <= left:
                fitting[name] = value
                left -= size
        self._publish(Word.METRICS_SEQ, _METRICS_AT, _METRICS_SIZE, fitting)
        return fitting

    def metrics(self) -> dict[str, float]:
        """The newest whole set of metrics; empty before the first."""
        found = self._read(Word.METRICS_SEQ, _METRICS_AT, _METRICS_SIZE)
        return found if found is not None else {}

    def publish_outcome(self, outcome: dict[str, Any]) -> None:
        """State how this worker ended, before it exits 0; strings beyond the page are the writer's to cut."""
        self._publish(Word.OUTCOME_SEQ, _OUTCOME_AT, _OUTCOME_SIZE, outcome)

    def outcome(self) -> dict[str, Any] | None:
        """The outcome, or ``None`` while the worker has stated none."""
        return self._read(Word.OUTCOME_SEQ, _OUTCOME_AT, _OUTCOME_SIZE)

    def publish_commit(self, *, step: int, uri: str, at: float) -> None:
        """Name the newest acknowledged checkpoint: its step, its manifest, and when it was acknowledged (Unix time)."""
        self._publish(Word.COMMIT_SEQ, _COMMIT_AT, _COMMIT_SIZE, {"step": step, "uri": uri, "at": at})
        self.words[Word.COMMITTED_AT] = int(at)
        self.words[Word.COMMITTED_STEP] = step

    def commit(self) -> dict[str, Any] | None:
        """The newest acknowledged checkpoint as published, or ``None`` before the first."""
        return self._read(Word.COMMIT_SEQ, _COMMIT_AT, _COMMIT_SIZE)

    def publish_notes(self, notes: Mapping[str, Any]) -> None:
        """Replace what is worth knowing about this run and seldom changes; strings are the writer's to cut."""
        self._publish(Word.NOTES_SEQ, _NOTES_AT, _NOTES_SIZE, dict(notes))

    def notes(self) -> dict[str, Any]:
        """The newest whole set of notes; empty before the first."""
        found = self._read(Word.NOTES_SEQ, _NOTES_AT, _NOTES_SIZE)
        return found if found is not None else {}

    def close(self) -> None:
        """Unmap the page; the file stays until the agent removes it."""
        self.words.release()
        self._buffer.close()

    def _publish(self, seq: Word, at: int, size: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        if len(body) + 8 > size:
            raise ValueError(f"message of {len(body)} bytes does not fit the {size - 8} bytes of its page; shorten it")
        words = self.words
        words[seq] += 1 if words[seq] % 2 == 0 else 0
        self._buffer[at : at + 8] = len(body).to_bytes(8, "little")
        self._buffer[at + 8 : at + 8 + len(body)] = body
        words[seq] += 1

    def _read(self, seq: Word, at: int, size: int) -> dict[str, Any] | None:
        for _ in range(8):
            before = self.words[seq]
            if before == 0:
                return None
            if before % 2:
                continue
            length = int.from_bytes(self._buffer[at : at + 8], "little")
            body = bytes(self._buffer[at + 8 : at + 8 + min(length, size - 8)])
            if self.words[seq] == before:
                value: dict[str, Any] = json.loads(body)
                return value
        return None
