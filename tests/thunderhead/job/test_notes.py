"""Notes: what the trainer leaves on its board about the run as a whole."""

from __future__ import annotations

from pathlib import Path

from thunderhead.job.board import Board
from thunderhead.job.link import PassedOver, Restored, Skipped
from thunderhead.job.notes import Notes


def test_what_was_given_up_is_noted_whatever_its_length(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board")
    passed_over = tuple(
        PassedOver(step=step, uri="s3://\u00e9" * 400, why="\u2192" * 5000) for step in (40, 30, 20, 10)
    )
    notes = Notes(board)
    notes.restored(Restored(step=5, parts={}, uri="u", passed_over=passed_over))
    notes.saved(Skipped(step=7, why="\u00e9" * 5000, in_a_row=1))
    found = Board.attach(tmp_path / "board").notes()
    assert [one["step"] for one in found["passed_over"]] == [40, 30]
    assert found["skipped"] == 1


def test_nothing_to_note_writes_nothing(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "board")
    notes = Notes(board)
    notes.restored(Restored(step=5, parts={}, uri="u"))
    notes.saved(None)
    assert board.notes() == {}
