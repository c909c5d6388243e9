"""What an older operator left out of a status, and what can be told of it."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import context, running_status

from thunderhead_api.status import World
from thunderhead_operator.plan.inherited import with_inheritance

CHECKPOINT = {"uri": "s3://b/m", "step": 4, "committedAt": "2026-01-01T00:00:00Z"}
HERE = running_status()["specHash"]
KNOWN = {"nodes": 3, "processesPerNode": 1, "checkpointUri": "s3://bucket/prefix", "fixed": False}


@pytest.mark.parametrize(
    ("status", "spec", "fixed"),
    [
        ({"checkpoint": CHECKPOINT}, {}, True),
        ({"checkpoint": CHECKPOINT}, {"suspend": True}, True),
        ({}, {}, None),
        ({"checkpoint": CHECKPOINT}, {"nodes": 1}, None),
        ({"checkpoint": CHECKPOINT}, {"nodes": 0}, None),
        ({"checkpoint": CHECKPOINT, "specHash": None}, {}, None),
        ({"checkpoint": CHECKPOINT, "world": KNOWN}, {}, False),
    ],
    ids=["saved", "suspended", "nothing saved", "changed since", "invalid", "no attempt yet", "known"],
)
def test_the_world_of_a_checkpoint(status: dict[str, Any], spec: dict[str, Any], fixed: bool | None) -> None:
    ctx = context(running_status(**status), spec=spec)
    after = with_inheritance(ctx, ctx.status).world
    if fixed is None:
        assert after is None
    elif "world" in status:
        assert after == World.model_validate(KNOWN)
    else:
        assert after == World(nodes=2, processes_per_node=1, checkpoint_uri="s3://bucket/prefix", fixed=True)


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
    assert [entry.spec_hash for entry in with_inheritance(ctx, ctx.status).ledger] == after
