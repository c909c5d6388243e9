"""A pod without a node: what it waits for, by name, also where the scheduler says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import context, pod

from thunderhead_operator.plan.blocked import block_of, block_wakes
from thunderhead_operator.plan.clock import stamp
from thunderhead_operator.plan.objects import Manifest

TEMPLATE = {"name": "gpu", "resourceClaimTemplateName": "two-gpus"}
CLAIM = {"name": "gpu", "resourceClaimName": "shared-gpu"}


def waiting(spec: dict[str, Any], *, scheduled: dict[str, Any] | None = None, **status: Any) -> Manifest:
    made = pod(0, phase="Pending", node=None)
    made["spec"] = spec
    conditions = [{"type": "PodScheduled", **scheduled}] if scheduled else []
    made["status"] = {"phase": "Pending", "conditions": conditions, **status}
    return made


CASES: dict[str, tuple[Manifest, str, str]] = {
    "a template that is not there": (
        waiting({"resourceClaims": [TEMPLATE]}),
        "ResourceClaimMissing",
        'no ResourceClaim has been made from ResourceClaimTemplate "two-gpus"',
    ),
    "one of two": (
        waiting(
            {"resourceClaims": [TEMPLATE, {**TEMPLATE, "name": "net", "resourceClaimTemplateName": "nics"}]},
            resourceClaimStatuses=[{"name": "gpu", "resourceClaimName": "x"}],
        ),
        "ResourceClaimMissing",
        'ResourceClaimTemplate "nics"',
    ),
    "a claim that is not there": (
        waiting({"resourceClaims": [CLAIM]}),
        "ResourceClaimMissing",
        'it waits for ResourceClaim "shared-gpu" to exist',
    ),
    "the scheduler's words go first": (
        waiting(
            {"resourceClaims": [TEMPLATE]}, scheduled={"status": "False", "reason": "Unschedulable", "message": "no"}
        ),
        "Unschedulable",
        "digits-1-0: no",
    ),
    "a gate": (
        waiting(
            {},
            scheduled={
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            },
        ),
        "Unschedulable",
        "scheduling gates",
    ),
    "nobody schedules": (waiting({"schedulerName": "mine"}), "Unschedulable", 'does "mine" run?'),
}


@pytest.mark.parametrize(("made", "reason", "said"), list(CASES.values()), ids=list(CASES))
def test_it_is_blocked_by_name_after_eight_seconds(made: Manifest, reason: str, said: str) -> None:
    assert block_of(context(None, made, pod(1), now=7)) is None
    (wake,) = block_wakes(context(None, made, pod(1), now=7))
    assert stamp(wake) == "2026-01-01T00:00:08Z"
    block = block_of(context(None, made, pod(1), now=8))
    assert block is not None
    assert block.reason == reason
    assert said in block.message


@pytest.mark.parametrize(
    "made",
    [
        waiting({"nodeName": "node-1", "resourceClaims": [TEMPLATE]}),
        waiting({"resourceClaims": [TEMPLATE]}, scheduled={"status": "True"}),
        waiting({"resourceClaims": [TEMPLATE]}) | {"status": {"phase": "Running"}},
    ],
    ids=["bound", "scheduled", "running"],
)
def test_a_pod_with_a_node_waits_for_no_place(made: Manifest) -> None:
    assert block_of(context(None, made, pod(1), now=60)) is None
