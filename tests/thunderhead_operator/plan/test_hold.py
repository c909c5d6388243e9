"""A change that no attempt could go on with: what is said of it, and that it ends nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from op_build import at, context, observing, pod, reply, running_status, stored

from thunderhead_api.status import TrainingJobStatus
from thunderhead_api.treaty import Cause
from thunderhead_operator.cluster.memory import merged
from thunderhead_operator.plan.actions import Rehearse, WriteStatus
from thunderhead_operator.plan.context import Context
from thunderhead_operator.plan.decide import decide
from thunderhead_operator.plan.hold import hold_of, is_rehearsed, is_vain_change, rehearsal_for
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.observed import Observed, Refusal, RefusalKind, Rehearsal, Sample
from thunderhead_operator.plan.world import with_world

WORLD = {"nodes": 2, "processesPerNode": 1, "checkpointUri": "s3://bucket/prefix", "fixed": True}
PODS = (pod(0), pod(1))
CHECKPOINT = {"uri": "s3://b/m", "step": 4, "committedAt": "2026-01-01T00:00:00Z"}


def edited(*, world: dict[str, Any] | None = None, **spec: Any) -> Context:
    return context(running_status(world=world or WORLD), *PODS, spec=spec)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"nodes": 1}, ("spec.nodes = 1", "set it back to 2")),
        ({"processesPerNode": 2}, ("spec.processesPerNode = 2", "set it back to 1")),
        ({"resources": {"limits": {"nvidia.com/gpu": 4}}}, ("spec.processesPerNode = 4", "set it back to 1")),
        (
            {"checkpoint": {"uri": "s3://bucket/other"}},
            ("spec.checkpoint.uri = s3://bucket/other", "s3://bucket/prefix"),
        ),
        ({"nodes": 1, "checkpoint": {"uri": "s3://bucket/prefix", "resume": "Never"}}, None),
        ({"checkpoint": {"uri": "s3://bucket/prefix/"}}, None),
        ({"processesPerNode": 1}, None),
        ({"seed": 3, "image": "other:2"}, None),
    ],
    ids=str,
)
def test_what_has_been_saved_holds_the_world(edit: dict[str, Any], says: tuple[str, str] | None) -> None:
    hold = hold_of(edited(**edit))
    if says is None:
        assert hold is None
        return
    assert hold is not None
    assert hold.reason == "CannotContinue"
    assert all(part in hold.message for part in (*says, "attempt 1 runs on"))


def test_before_anything_can_have_been_saved_the_world_is_free() -> None:
    assert hold_of(edited(world={**WORLD, "fixed": False}, nodes=7)) is None


WAITING = pod(1, phase="Pending", node=None)
CREATING = {k: v for k, v in running_status().items() if k != "podsCreatedAt"}


@pytest.mark.parametrize(
    ("status", "pods", "ghosts", "fixed"),
    [
        (running_status(), PODS, (), True),
        (running_status(), (pod(0), pod(1, exit_code=1)), (), True),
        (running_status(), (pod(0), WAITING), (), False),
        (running_status(), (pod(0),), (), True),
        (running_status(), (pod(0),), (WAITING,), False),
        (CREATING, (pod(0),), (), False),
        (running_status(checkpoint=CHECKPOINT), (pod(0), WAITING), (), True),
    ],
    ids=["all run", "one has ended", "one waits", "one went unseen", "one went before it ran", "not made", "saved"],
)
def test_the_world_is_fixed_once_all_have_started(status: Any, pods: Any, ghosts: Any, fixed: bool) -> None:
    ctx = context(status, *pods, ghosts=ghosts)
    after = with_world(ctx, ctx.status)
    assert after.world is not None
    assert (after.world.nodes, after.world.processes_per_node, after.world.fixed) == (2, 1, fixed)


def decided(observed: Observed, status: dict[str, Any] | None = None, **spec: Any) -> tuple[Any, ...]:
    """The first pass's actions once nothing is left to write."""
    job = stored(running_status(world=WORLD) if status is None else status, **spec)
    for _ in range(4):
        actions = decide(job, observed, at(1)).actions
        if not actions or not isinstance(actions[0], WriteStatus):
            return actions
        assert "ending" not in actions[0].patch
        job["status"] = merged(job["status"], actions[0].patch)
    raise AssertionError("it writes for ever")


def test_an_attempt_that_runs_is_ended_for_a_change_only_once_the_api_server_takes_the_next() -> None:
    (question,) = [a for a in decided(observing(pods=PODS), seed=3) if isinstance(a, Rehearse)]
    assert [child.kind for child in question.children] == [Kind.CONFIG_MAP, Kind.POD]
    assert question.children[-1].manifest["metadata"]["name"] == "digits-2-0"
    write = decide(
        stored(running_status(world=WORLD), seed=3),
        observing(pods=PODS, rehearsal=Rehearsal(question.spec_hash, None)),
        at(1),
    ).actions[0]
    assert isinstance(write, WriteStatus)
    assert write.patch["ending"]["cause"] == "SpecChanged"


@pytest.mark.parametrize(("why", "reason"), [(RefusalKind.INVALID, "InvalidPod"), (RefusalKind.FORBIDDEN, "Forbidden")])
def test_a_change_that_the_api_server_refuses_is_held(why: RefusalKind, reason: str) -> None:
    ctx = edited(seed=3)
    question = rehearsal_for(ctx)
    assert question is not None
    refusal = Refusal(Kind.POD, "digits-2-0", why, "spec.containers[0].image: Invalid value")
    told = Rehearsal(question.spec_hash, refusal)
    held = replace(ctx, observed=replace(ctx.observed, rehearsal=told))
    hold = hold_of(held)
    assert hold is not None
    assert hold.reason == reason
    assert "spec.containers[0].image" in hold.message
    sample = Sample(reply(first_step=0, step=3), at(1))
    again = decided(observing(pods=PODS, rehearsal=told, sample=sample), seed=3)
    assert [type(a) for a in again if not hasattr(a, "manifest")] == [Rehearse], "and asked again"


def test_an_answer_about_another_change_is_none() -> None:
    ctx = edited(seed=3)
    stale = replace(ctx, observed=replace(ctx.observed, rehearsal=Rehearsal("another", None)))
    assert not is_rehearsed(stale)
    assert is_rehearsed(context(running_status(), *PODS)), "an unchanged spec needs none"
    assert is_rehearsed(context({})), "and neither does the first attempt"


def test_a_held_job_shows_that_it_trains() -> None:
    sample = Sample(reply(first_step=0, step=3), at(1))
    write = decide(stored(running_status(world=WORLD), nodes=1), observing(pods=PODS, sample=sample), at(1)).actions[0]
    assert isinstance(write, WriteStatus)
    status = TrainingJobStatus.model_validate(merged(running_status(world=WORLD), write.patch))
    assert {c.type: c.status for c in status.conditions}["Blocked"] == "True"
    assert status.phase == "Running"


def ran(attempt: int, spec_hash: str | None, code_hash: str | None, last_step: int | None = 5) -> dict[str, Any]:
    entry = {"attempt": attempt, "cause": "PodDeleted", "free": True, "startedAt": "", "endedAt": ""}
    return entry | {"lastStep": last_step, "specHash": spec_hash, "codeHash": code_hash}


HERE = running_status()["specHash"]


@pytest.mark.parametrize(
    ("ledger", "code", "vain"),
    [
        ([], None, False),
        ([ran(1, HERE, None)], None, False),
        ([ran(1, HERE, "c1")], "c1", False),
        ([ran(1, HERE, "c1")], None, False),
        ([ran(1, HERE, None)], "c1", False),
        ([ran(1, HERE, "c1"), ran(2, "other", "c1")], None, False),
        ([ran(1, HERE, "c1")], "c2", True),
        ([ran(1, "other", "c1")], None, True),
        ([ran(1, "other", None)], None, True),
        ([ran(1, "other", None, last_step=None)], None, False),
        ([ran(1, "other", None), ran(2, HERE, None, last_step=None)], None, True),
    ],
    ids=[
        "first attempt",
        "same, code in the image",
        "same",
        "same, its pods not all seen",
        "same, code of before unknown",
        "same, changed back",
        "other code",
        "other spec, its pods not all seen",
        "other spec",
        "nothing trained",
        "other spec, tried before",
    ],
)
@pytest.mark.parametrize("cause", [Cause.INVALID_CONFIGURATION, Cause.STORAGE_REFUSED, Cause.STARTUP_DEADLINE])
def test_a_change_is_at_fault_where_there_was_one(cause: Cause, ledger: Any, code: str | None, vain: bool) -> None:
    assert is_vain_change(context(running_status(ledger=ledger, codeHash=code)), cause) is vain


@pytest.mark.parametrize(
    "cause", sorted(set(Cause) - {"InvalidConfiguration", "StorageRefused", "StartupDeadlineExceeded"})
)
def test_no_change_is_at_fault_for_what_happens_to_any_spec(cause: Cause) -> None:
    assert not is_vain_change(context(running_status(ledger=[ran(1, "other", None)])), cause)
