"""Events, from the difference between two statuses."""

from __future__ import annotations

import pytest

from thunderhead_api.messages import SkippedCheckpoints
from thunderhead_api.status import Progress, TrainingJobStatus
from thunderhead_operator.plan.notices import notices


def status(total: int, in_a_row: int, attempt: int = 1) -> TrainingJobStatus:
    skipped = SkippedCheckpoints(total=total, in_a_row=in_a_row, why="SlowDown (503)" if in_a_row else None)
    progress = Progress(updated_at="2026-01-01T00:00:00Z", skipped_checkpoints=skipped if total else None)
    return TrainingJobStatus(attempt=attempt, progress=progress)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((0, 0), (1, 1), [("CheckpointSkipped", "training goes on without a checkpoint: SlowDown (503)", True)]),
        ((1, 1), (2, 2), []),
        ((2, 2), (2, 0), [("CheckpointsResumed", "the store takes checkpoints again; 2 were skipped", False)]),
        ((2, 0), (3, 1), [("CheckpointSkipped", "training goes on without a checkpoint: SlowDown (503)", True)]),
        ((2, 0), (2, 0), []),
    ],
)
def test_a_gap_of_the_store_is_told_as_it_begins_and_when_it_is_over(
    before: tuple[int, int], after: tuple[int, int], told: list[tuple[str, str, bool]]
) -> None:
    assert [(n.reason, n.note, n.warning) for n in notices(status(*before), status(*after))] == told


def test_a_loss_that_is_no_number_is_told_once() -> None:
    def with_step(step: int | None) -> TrainingJobStatus:
        return TrainingJobStatus(progress=Progress(updated_at="2026-01-01T00:00:00Z", non_finite_step=step))

    (notice,) = notices(with_step(None), with_step(31))
    assert (notice.reason, notice.warning) == ("NotFinite", True)
    assert "the loss of step 31" in notice.note
    assert notices(with_step(31), with_step(31)) == ()
    assert [n.reason for n in notices(TrainingJobStatus(), with_step(31))] == ["NotFinite"]


def test_another_attempt_does_not_end_the_gap_of_the_one_before() -> None:
    found = notices(status(2, 2), status(0, 0, attempt=2))
    assert [notice.reason for notice in found] == ["AttemptStarted"]
