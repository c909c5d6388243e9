"""The machine as a whole: when it writes, when it acts, and when it keeps its hands off."""

from __future__ import annotations

from typing import Any

import pytest
from op_build import at, observing, pod, record, reply, running_status, stored

from thunderhead_api.treaty import CONTAINER, MANAGED_BY, NODES_MAX, Outcome
from thunderhead_operator.cluster.memory import merged
from thunderhead_operator.plan.actions import CreateChild, CreateKey, DeleteChild, DeleteJob, Notice, WriteStatus
from thunderhead_operator.plan.config import Config
from thunderhead_operator.plan.context import Context, Job
from thunderhead_operator.plan.decide import decide
from thunderhead_operator.plan.kinds import Kind
from thunderhead_operator.plan.objects import name_of
from thunderhead_operator.plan.observed import Observed, Rehearsal, Sample

Manifest = dict[str, Any]


def finished(type_: str = "Complete", **changes: Any) -> dict[str, Any]:
    condition = {
        "type": type_,
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "Completed",
        "message": "",
    }
    return running_status(conditions=[condition], finishedAt="2026-01-01T00:00:00Z", phase=type_) | changes


def test_another_controllers_job_is_left_alone() -> None:
    assert decide(stored(managedBy="kueue.x-k8s.io/multikueue"), observing(), at(0)).actions == ()
    assert decide(stored(managedBy=MANAGED_BY), observing(), at(0)).actions != ()


def test_a_job_that_is_being_deleted_is_left_alone() -> None:
    job = stored(running_status())
    job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert decide(job, observing(), at(0)).actions == ()


def test_the_first_pass_promises_and_touches_nothing() -> None:
    write, *notices = decide(stored(), observing(), at(0)).actions
    assert isinstance(write, WriteStatus)
    assert write.resource_version == "7"
    assert write.patch["attempt"] == 1
    assert write.patch["restarts"] == {"charged": 0, "free": 0, "total": 0}, "counters are there from the first write"
    assert [n.reason for n in notices if isinstance(n, Notice)] == ["AttemptStarted"]


def assert_runs_on(write: WriteStatus, reason: str, says: str) -> None:
    (blocked,) = (c for c in write.patch["conditions"] if c["type"] == "Blocked")
    assert (blocked["status"], blocked["reason"]) == ("True", reason)
    assert all(part in blocked["message"] for part in (says, "attempt 1 runs on"))
    assert "ending" not in write.patch


def assert_refused(where: str, reason: str, says: str, **spec: Any) -> None:
    """It fails a new job, and lets one that runs go on."""
    job = stored(running_status() if where == "running" else None, **spec)
    write = decide(job, observing(pods=(pod(0), pod(1))), at(0)).actions[0]
    assert isinstance(write, WriteStatus)
    if where == "running":
        assert_runs_on(write, reason, says)
        return
    failed = next(c for c in write.patch["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == reason
    assert says in failed["message"]


@pytest.mark.parametrize("where", ["fresh", "running"])
def test_a_spec_that_predates_the_schema_begins_nothing_and_says_how(where: str) -> None:
    assert_refused(where, "InvalidSpec", "spec.nodes", nodes=0)


@pytest.mark.parametrize("levels", [97, 250, 3_000])
@pytest.mark.parametrize("where", ["fresh", "running"])
def test_a_spec_too_deep_to_be_walked_through_is_an_invalid_configuration(where: str, levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    module = {"class_path": "m.M", "init_args": {"x": deep}}
    assert_refused(where, "InvalidConfiguration", "spec.module.init_args.x", module=module)


def test_no_pass_is_longer_than_a_job_may_have_nodes() -> None:
    creating = {k: v for k, v in running_status().items() if k != "podsCreatedAt"}
    creating["nodes"] = {"ready": 0, "total": 10**6, "summary": "0/1000000"}
    creating["specHash"] = Job.parse(stored(nodes=NODES_MAX)).spec_hash
    settled = stored(settle(creating, observing(), 0, nodes=NODES_MAX), nodes=NODES_MAX)
    pods = [a for a in decide(settled, observing(), at(0)).actions if isinstance(a, CreateChild) and a.kind is Kind.POD]
    assert len(pods) == 250
    assert Context(Job.parse(settled), observing(), at(0), Config()).num_nodes == NODES_MAX


def test_children_are_made_by_the_pass_that_finds_the_promise() -> None:
    creating = {k: v for k, v in running_status().items() if k != "podsCreatedAt"}
    settled = stored(settle(creating, observing(), 0))
    actions = decide(settled, observing(), at(0)).actions
    kinds = [a.kind for a in actions if isinstance(a, CreateChild)]
    assert kinds == [Kind.SERVICE, Kind.NETWORK_POLICY, Kind.CONFIG_MAP, Kind.POD, Kind.POD]
    (key,) = (a for a in actions if isinstance(a, CreateKey))
    assert key.owner in {name_of(a.manifest) for a in actions if isinstance(a, CreateChild)}
    assert "data" not in key.manifest, "a decision knows no key"
    assert len(actions) == len(kinds) + 1
    with_pod = decide(settled, observing(pods=(pod(0),)), at(0)).actions
    assert not any(isinstance(a, CreateKey) for a in with_pod), "there was one before the first pod"


def taken(**spec: Any) -> Rehearsal:
    """The API server would take the pods of the running job with these parts of its spec changed."""
    parsed = Job.parse(stored(**spec))
    assert parsed.spec_hash is not None
    return Rehearsal(parsed.spec_hash, None)


@pytest.mark.parametrize(
    "edit", [{"suspend": True}, {"seed": 1}, {"image": "other:2"}, {"terminationGracePeriodSeconds": 31}], ids=str
)
def test_edits_that_end_an_attempt(edit: Manifest) -> None:
    observed = observing(pods=(pod(0), pod(1)), rehearsal=taken(**edit))
    write = decide(stored(running_status(), **edit), observed, at(0)).actions[0]
    assert isinstance(write, WriteStatus)
    assert write.patch["ending"]["graceful"] is True
    assert write.patch["ending"]["free"] is True


@pytest.mark.parametrize(
    "edit",
    [{"restarts": {"maxRestarts": 9}}, {"activeDeadlineSeconds": 9999}, {"ttlSecondsAfterFinished": 1}],
    ids=str,
)
def test_edits_that_disturb_no_pod(edit: Manifest) -> None:
    actions = decide(stored(running_status(), **edit), observing(pods=(pod(0), pod(1))), at(0)).actions
    assert all("ending" not in a.patch for a in actions if isinstance(a, WriteStatus))


def settle(status: Manifest, observed: Observed, now: float, **spec: Any) -> Manifest:
    """The status after all that a pass at this moment wants to write."""
    job = stored(status, **spec)
    for _ in range(5):
        actions = decide(job, observed, at(now)).actions
        if not actions or not isinstance(actions[0], WriteStatus):
            return dict(job["status"])
        job["status"] = merged(job["status"], actions[0].patch)
    raise AssertionError("it writes for ever")


def test_time_alone_writes_nothing() -> None:
    observed = observing(pods=(pod(0), pod(1)), sample=Sample(reply(first_step=0, step=3), at(1)))
    status = settle(running_status(), observed, 1)
    for later in (2, 30, 3000):
        decision = decide(stored(status, startupDeadlineSeconds=9999), observed, at(later))
        assert not any(isinstance(a, WriteStatus) for a in decision.actions)


def test_progress_waits_for_its_turn_and_rides_along() -> None:
    first = observing(pods=(pod(0), pod(1)), sample=Sample(reply(first_step=0, step=3), at(1)))
    job = stored(settle(running_status(), first, 1))
    step = Sample(reply(first_step=0, step=4), at(3))
    soon = decide(job, observing(pods=(pod(0), pod(1)), sample=step, quiet_s=2), at(3))
    assert not any(isinstance(a, WriteStatus) for a in soon.actions)
    assert soon.requeue_after == pytest.approx(8)
    due = decide(job, observing(pods=(pod(0), pod(1)), sample=step, quiet_s=10), at(11)).actions[0]
    assert isinstance(due, WriteStatus)
    assert set(due.patch) == {"progress"} or set(due.patch) == {"progress", "goodput"}
    rides = decide(job, observing(pods=(pod(0),), sample=step, quiet_s=2), at(3)).actions[0]
    assert isinstance(rides, WriteStatus)
    assert {"ending", "progress"} <= set(rides.patch)


def test_running_begins_when_all_ranks_have_met_and_is_not_taken_back() -> None:
    pods = (pod(0), pod(1))
    partly = settle(running_status(), observing(pods=pods, sample=Sample(reply(ranks_met=1), at(1))), 1)
    assert condition(partly, "Running") == "False"
    status = settle(partly, observing(pods=pods, sample=Sample(reply(), at(2))), 2)
    assert condition(status, "Running") == "True"
    assert condition(settle(status, observing(pods=pods), 50), "Running") == "True", "silence takes nothing back"


def test_pods_that_run_long_without_a_word_count_as_running() -> None:
    pods = (pod(0), pod(1))
    status = settle(running_status(), observing(pods=pods), 59)
    assert condition(status, "Running") == "False"
    assert decide(stored(status), observing(pods=pods), at(59)).requeue_after == pytest.approx(1)
    assert condition(settle(status, observing(pods=pods), 60), "Running") == "True"


def condition(status: Manifest, type_: str) -> str | None:
    return next((c["status"] for c in status["conditions"] if c["type"] == type_), None)


def test_a_finished_job_is_not_revived() -> None:
    for type_ in ("Complete", "Failed"):
        assert decide(stored(finished(type_), nodes=7, suspend=True), observing(), at(0)).actions == ()


def test_a_finished_job_keeps_a_pod_whose_phase_is_late() -> None:
    """The kubelet reports that all containers have ended, and the phase that follows from it a moment later."""
    late = pod(0, record=record(0, Outcome.DONE))
    late["spec"]["containers"] = [{"name": CONTAINER}]
    assert decide(stored(finished()), observing(pods=(late,)), at(0)).actions == ()


def test_a_finished_job_stops_what_still_runs_and_keeps_what_has_stopped() -> None:
    sidecar = pod(0, record=record(0, Outcome.DONE))
    done = pod(1, record=record(1, Outcome.DONE), phase="Succeeded")
    actions = decide(stored(finished()), observing(pods=(sidecar, done)), at(0)).actions
    assert [(a.name, a.grace_s) for a in actions if isinstance(a, DeleteChild)] == [("digits-1-0", 5)]


def test_time_to_live() -> None:
    job = stored(finished(), ttlSecondsAfterFinished=60)
    early = decide(job, observing(), at(59))
    assert (early.actions, early.requeue_after) == ((), 1)
    assert decide(job, observing(), at(60)).actions == (DeleteJob("uid-job"),)


def test_a_pod_of_another_owner_is_not_ours() -> None:
    stranger = pod(1, exit_code=1)
    stranger["metadata"]["ownerReferences"] = [{"uid": "another", "controller": True}]
    creating = {k: v for k, v in running_status().items() if k != "podsCreatedAt"}
    actions = decide(stored(settle(creating, observing(), 0)), observing(pods=(stranger,)), at(0)).actions
    assert not any(isinstance(a, WriteStatus | DeleteChild) for a in actions)


def test_lost_service_and_policy_are_put_back_while_it_runs() -> None:
    status = settle(running_status(), observing(pods=(pod(0), pod(1))), 0)
    actions = decide(stored(status), observing(pods=(pod(0), pod(1))), at(0)).actions
    assert [a.kind for a in actions if isinstance(a, CreateChild)] == [Kind.SERVICE, Kind.NETWORK_POLICY]


def test_a_status_of_a_newer_version_is_refused_loudly() -> None:
    with pytest.raises(ValueError, match="team/digits was not written by this version"):
        decide(stored(running_status(attempt="first")), observing(), at(0))
