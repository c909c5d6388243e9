"""The record of where a run stands, as the first release of it reads it, and as those to come may write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from trainer_job import MemoryLink
from trainer_models import QUIET, Net, in_order, shuffled

import thunderhead as th
from thunderhead import job
from thunderhead.core.position import Next, Position
from thunderhead.job.link import CheckpointPolicy
from thunderhead.job.parts import REPLICATED

# The first release sets each name that it reads as an attribute of a class with slots, and ends at any other.
FIRST_RELEASE = {
    "epoch": 1,
    "batch": 3,
    "batches": 8,
    "step": 8,
    "log_step": 8,
    "samples": 40,
    "next": "batch",
}


@pytest.fixture(autouse=True)
def _detach() -> Iterator[None]:
    yield
    job.attach(None)


def test_what_every_release_knows_is_all_that_is_written_where_nothing_else_is_said() -> None:
    position = Position(epoch=1, batch=3, batches=8, step=8, log_step=8, samples=40, next=Next.BATCH)
    assert position.state_dict() == FIRST_RELEASE
    again = Position()
    again.load_state_dict(FIRST_RELEASE)
    assert again == position


@pytest.mark.parametrize(
    ("position", "more"),
    [
        (Position(due=("one", "other")), {"due": ["one", "other"]}),
        (Position(stepped=False), {"stepped": False}),
        (Position(last=True), {"last": True}),
    ],
)
def test_what_says_something_is_written(position: Position, more: dict[str, object]) -> None:
    state = position.state_dict()
    assert {name: state[name] for name in state.keys() - FIRST_RELEASE} == more
    again = Position()
    again.load_state_dict(state)
    assert again == position


def test_names_of_releases_to_come_are_passed_over() -> None:
    position = Position()
    position.load_state_dict({**FIRST_RELEASE, "weather": "fine"})
    assert position.state_dict() == FIRST_RELEASE


@pytest.mark.parametrize("accumulate", [1, 2])
def test_no_job_checkpoint_says_more(tmp_path: Path, accumulate: int) -> None:
    """After each step, validations in the midst of epochs, and at the end; after a rollback any may be the newest."""
    link = MemoryLink(tmp_path, policy=CheckpointPolicy(every_steps=1))
    job.attach(link)
    trainer = th.Trainer(**QUIET, max_epochs=2, accumulate_grad_batches=accumulate, val_check_interval=2)
    trainer.fit(Net(), shuffled(), in_order())
    assert len(link.checkpoints.commits) > 5
    for parts in link.checkpoints.commits.values():
        assert parts[REPLICATED].tree["position"].keys() == FIRST_RELEASE.keys()
