"""An agent's account of its execution."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from thunderhead.job.board import Phase
from thunderhead_agent.reading import Reading
from thunderhead_agent.spending import Spending
from thunderhead_api.time_spent import seconds_of, time_spent


def test_phases_are_timed_and_what_the_worker_counts_is_believed(make_reading: Callable[..., Reading]) -> None:
    spending = Spending()
    assert spending.look(None, 3.0) == time_spent(starting=3)
    nothing = {"training_s": 0.0, "checkpoint_s": 0.0}
    assert spending.look(make_reading(phase=Phase.RENDEZVOUS, **nothing), 5.0) == time_spent(starting=5)
    restoring = make_reading(phase=Phase.RESTORING, restoring_s=4.0, **nothing)
    assert spending.look(restoring, 10.0) == time_spent(starting=6, restoring=4)
    counted = {"restoring_s": 4.0, "training_s": 12.0, "repeated_s": 3.0, "checkpoint_s": 1.0}
    assert spending.look(make_reading(phase=Phase.TRAIN, **counted), 28.0) == time_spent(
        starting=6, restoring=4, counted=12, repeated=3, checkpoint_stall=1, other=2
    )
    validated = spending.look(make_reading(phase=Phase.VALIDATE, **counted), 78.0)
    assert validated == time_spent(
        starting=6, restoring=4, counted=12, repeated=3, checkpoint_stall=1, validation=50, other=2
    )
    assert seconds_of(validated) == 78.0


def test_test_and_prediction_are_what_such_a_job_does(make_reading: Callable[..., Reading]) -> None:
    for phase in (Phase.TEST, Phase.PREDICT):
        spending = Spending()
        spending.look(None, 2.0)
        spent = spending.look(make_reading(phase=phase, training_s=0.0, checkpoint_s=0.0), 12.0)
        assert spent == time_spent(starting=2, validation=10)


KIND_OF = {
    Phase.STARTING: "starting",
    Phase.RENDEZVOUS: "starting",
    Phase.BUILDING: "starting",
    Phase.RESTORING: "starting",  # but for what the worker itself has counted as reading a checkpoint
    Phase.TRAIN: "other",  # but for what the worker itself has counted as steps and stalls
    Phase.CHECKPOINT: "other",
    Phase.VALIDATE: "validation",
    Phase.TEST: "validation",
    Phase.PREDICT: "validation",
    Phase.STOPPING: "other",
    Phase.DONE: "other",
}


def test_every_phase_has_its_kind() -> None:
    assert KIND_OF.keys() == set(Phase), "a new phase: is its time lost? Say so here and in what adds it up"


@pytest.mark.parametrize("phase", KIND_OF, ids=lambda phase: phase.name)
def test_time_in_a_phase_of_which_the_worker_counts_nothing(phase: Phase, make_reading: Callable[..., Reading]) -> None:
    nothing = {"training_s": 0.0, "checkpoint_s": 0.0, "repeated_s": 0.0, "restoring_s": 0.0}
    assert Spending().look(make_reading(phase=phase, **nothing), 7.0) == time_spent(**{KIND_OF[phase]: 7})
