"""What an older operator left out of a status, and what can be told of it."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import context, pod, running_status

from thunderhead_api.status import World
from thunderhead_operator.plan.ledger import with_spec_of_last
from thunderhead_operator.plan.world import with_world

CHECKPOINT = {"uri": "s3://b/m", "step": 4, "committedAt": "2026-01-01T00:00:00Z"}
HERE = running_status()["specHash"]
IDLE = {"attemptStartedAt": None, "podsCreatedAt": None}


@pytest.mark.parametrize(
    "stage", [IDLE, {"ending": {"cause": "Suspended", "free": True, "at": ""}}], ids=["idle", "ending"]
)
@pytest.mark.parametrize(
    ("status", "spec", "fixed"),
    [
        ({"checkpoint": CHECKPOINT}, {}, True),
        ({"checkpoint": CHECKPOINT}, {"suspend": True}, True),
        ({}, {}, False),
        ({"checkpoint": CHECKPOINT}, {"nodes": 1}, None),
        ({"checkpoint": CHECKPOINT}, {"nodes": 0}, None),
        ({"checkpoint": CHECKPOINT, "specHash": None}, {}, None),
    ],
    ids=["saved", "suspended", "nothing saved", "changed since", "invalid", "no attempt yet"],
)
def test_the_world_of_an_attempt_that_runs_no_more(
    stage: dict[str, Any], status: dict[str, Any], spec: dict[str, Any], fixed: bool | None
) -> None:
    ctx = context(running_status(**(stage | status)), spec=spec)
    after = with_world(ctx, ctx.status).world
    if fixed is None:
        assert after is None
    else:
        assert after == World(nodes=2, processes_per_node=1, checkpoint_uri="s3://bucket/prefix", fixed=fixed)


def test_pods_that_have_run_may_have_saved_what_nobody_has_told() -> None:
    """They stay, stopped, for their logs."""
    ctx = context(running_status(**IDLE), pod(0, exit_code=0), pod(1, exit_code=1))
    after = with_world(ctx, ctx.status).world
    assert after is not None
    assert after.fixed


@pytest.mark.parametrize(
    ("attempts", "said", "after"),
    [
        ([1], [None], [HERE]),
        ([1], ["known"], ["known"]),
        ([], [], []),
        ([0], [None], [None]),
        ([0, 1], [None, None], [None, HERE]),
    ],
    ids=["the last", "said", "none", "of an earlier attempt", "only the last"],
)
def test_the_spec_of_the_last_execution(attempts: list[int], said: list[str | None], after: list[str | None]) -> None:
    entries = [
        {"attempt": n, "cause": "Suspended", "free": True, "startedAt": "", "endedAt": "", "specHash": spec}
        for n, spec in zip(attempts, said, strict=True)
    ]
    ctx = context(running_status(ledger=entries))
    assert [entry.spec_hash for entry in with_spec_of_last(ctx.status).ledger] == after
