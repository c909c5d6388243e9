"""What is worth knowing about a run and seldom changes, as the trainer notes it on its board for the agent."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from thunderhead.job.board import Board
from thunderhead.job.link import Restored, Skipped

_WHY_LIMIT: Final = 300
_SENTENCES: Final = 2
_SENTENCE_LIMIT: Final = 600  # a character may take six bytes of the page
_URI_LIMIT: Final = 500
# The newest: how many steps were lost is said by the first and by where the execution began.
_PASSED_OVER_LIMIT: Final = 2


class Note(StrEnum):
    """Names of the notes."""

    SKIPPED = "skipped"  # checkpoints of this execution that the store did not take
    SKIPPED_IN_A_ROW = "skipped_in_a_row"  # of them, those since the newest commit
    WHY_SKIPPED = "why_skipped"  # what the store said of the newest one
    RESUMED = "resumed"  # what the resume made of edits: sentences
    LEFT_OUT = "left_out"  # logged values that found no room among those that are told
    NON_FINITE_STEP = "non_finite_step"  # the first step whose loss, or after which a parameter, was no number
    PASSED_OVER = "passed_over"  # newer commits that were given up as this execution began: step, uri, why of each


class Notes:
    """The notes of one run; the board is written where one of them changes."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._noted: dict[str, Any] = {}

    def saved(self, skipped: Skipped | None) -> None:
        """A save has ended: acknowledged, or skipped."""
        if skipped is not None:
            self._note(
                {
                    Note.SKIPPED: self._noted.get(Note.SKIPPED, 0) + 1,
                    Note.SKIPPED_IN_A_ROW: skipped.in_a_row,
                    Note.WHY_SKIPPED: skipped.why[:_WHY_LIMIT],
                }
            )
        elif self._noted.get(Note.SKIPPED_IN_A_ROW):
            self._note({Note.SKIPPED_IN_A_ROW: 0, Note.WHY_SKIPPED: ""})

    def resumed(self, text: str) -> None:
        """The resume found an edit."""
        told = [*self._noted.get(Note.RESUMED, ()), text[:_SENTENCE_LIMIT]]
        self._note({Note.RESUMED: told[:_SENTENCES]})

    def left_out(self, count: int) -> None:
        """So many logged values are not told."""
        if count != self._noted.get(Note.LEFT_OUT, 0):
            self._note({Note.LEFT_OUT: count})

    def not_finite(self, step: int) -> None:
        """The loss of a step, or a parameter after it, is no number; told once, of the first."""
        self._note({Note.NON_FINITE_STEP: step})

    def restored(self, restored: Restored) -> None:
        """This execution goes on from a checkpoint."""
        if restored.passed_over:
            given_up = [
                {"step": one.step, "uri": one.uri[:_URI_LIMIT], "why": one.why[:_WHY_LIMIT]}
                for one in restored.passed_over[:_PASSED_OVER_LIMIT]
            ]
            self._note({Note.PASSED_OVER: given_up})

    def _note(self, changes: dict[Note, Any]) -> None:
        self._noted |= {str(name): value for name, value in changes.items()}
        self._board.publish_notes(self._noted)
