"""Values and servers that several tests of the agent need."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from thunderhead.job.board import Phase
from thunderhead_agent.reading import Reading
from thunderhead_agent.snapshot import Snapshot
from thunderhead_api.messages import CommittedCheckpoint, FrozenJob, TimeSpent

sys.path.insert(0, str(Path(__file__).parent))

from agent_attempts import Start, Template

NOW = 1_800_000_000.0

MakeReading = Callable[..., Reading]
MakeSnapshot = Callable[..., Snapshot]


@pytest.fixture(scope="session")
def template() -> Iterator[Callable[[], Template]]:
    """The process that agents are forked from, started when first asked for."""
    made: list[Template] = []

    def get() -> Template:
        if not made:
            made.append(Template())
        return made[0]

    yield get
    for process in made:
        process.close()


@pytest.fixture
def start(tmp_path: Path, template: Callable[[], Template]) -> Iterator[Start]:
    """Starts attempts; whatever of them still runs at the end of the test is killed."""
    starter = Start(tmp_path, template)
    yield starter
    starter.close()


@pytest.fixture
def make_job() -> Callable[..., FrozenJob]:
    """A frozen job of two nodes with two processes each, with changes."""

    def make(**changes: Any) -> FrozenJob:
        fields: dict[str, Any] = {
            "namespace": "team",
            "name": "digits",
            "uid": "u-1",
            "attempt": 2,
            "nodes": 2,
            "processes_per_node": 2,
            "spec_hash": "h",
            "spec": {"checkpoint": {"uri": "s3://bucket/prefix/"}},
        }
        return FrozenJob(**(fields | changes))

    return make


@pytest.fixture
def make_reading() -> MakeReading:
    """A worker in the middle of training, with changes."""

    def make(rank: int = 0, **changes: Any) -> Reading:
        fields: dict[str, Any] = {
            "rank": rank,
            "phase": Phase.TRAIN,
            "epoch": 1,
            "step": 150,
            "age_s": 0.25,
            "step_s": 0.125,
            "max_steps": 200,
            "first_step": 100,
            "commit": CommittedCheckpoint(
                uri="s3://bucket/prefix/team/digits/u-1/steps/140/2-0.json",
                step=140,
                committed_at="2027-01-15T07:59:50Z",
            ),
            "samples": 3200,
            "training_s": 6.25,
            "checkpoint_s": 0.5,
            "repeated_s": 0.0,
            "restoring_s": 0.0,
            "first_step_at": NOW - 60,
            "last_step_at": NOW - 1,
        }
        return Reading(**(fields | changes))

    return make


@pytest.fixture
def make_snapshot(make_job: Callable[..., FrozenJob], make_reading: MakeReading) -> MakeSnapshot:
    """Node 0 with two workers in the middle of training, with changes."""

    def make(**changes: Any) -> Snapshot:
        fields: dict[str, Any] = {
            "job": make_job(),
            "node_rank": 0,
            "readings": [make_reading(0), make_reading(1)],
            "started": True,
            "metrics": {"loss": 0.5},
            "taken_at": NOW,
            "uptime_s": 100.0,
            "spent": TimeSpent(counted=6.25, checkpoint_stall=0.5, starting=7, restoring=2.5, validation=83.75),
        }
        return Snapshot(**(fields | changes))

    return make
