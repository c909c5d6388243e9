"""A job's life over the memory cluster: what a user sees, from create to the end."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from op_faults import MUTATING, Counting, Proxy
from op_kubelet import End, Pod, done_after, ends
from op_world import KEY, NAME, NAMESPACE, World, job

from thunderhead_api.messages import Culprit, StatusReply
from thunderhead_api.names import code_config_map_name, job_config_map_name
from thunderhead_api.treaty import KIND, Annotation, Cause, Label, Outcome, Phase
from thunderhead_operator.cluster.api import ClusterApi
from thunderhead_operator.cluster.errors import Forbidden, NotFound
from thunderhead_operator.cluster.memory import MemoryCluster
from thunderhead_operator.plan.kinds import Kind

Call = Callable[[], Awaitable[Any]]


async def test_create_run_complete() -> None:
    world = World(done_after(3))
    world.submit()
    await world.drain()
    assert set(world.pods()) == {"digits-1-0", "digits-1-1"}
    await world.finish()
    status = world.status
    assert status.phase is Phase.COMPLETE
    assert world.condition("Complete") == ("True", "Completed")
    assert world.condition("Failed") is None
    assert [(e.attempt, e.cause, e.last_step) for e in status.ledger] == [(1, Cause.COMPLETED, 100)]
    assert status.restarts.total == 0
    assert status.finished_at is not None
    assert set(world.pods()) == {"digits-1-0", "digits-1-1"}, "pods that stopped stay for their logs"


async def test_same_fault_every_time_fails_after_budget_plus_one() -> None:
    def crash(pod: Pod) -> End | None:
        if pod.age < 2:
            return None
        culprit = Culprit(rank=3, node_rank=1, exit_code=1, reason="ValueError", message="bad batch")
        return ends(pod, Outcome.FAILED if pod.rank == 1 else Outcome.PEER_FAILED, culprit, last=7)

    world = World(crash)
    world.submit(job(restarts={"maxRestarts": 2}))
    await world.finish()
    status = world.status
    assert world.condition("Failed") == ("True", "RestartsExhausted")
    assert [(e.attempt, e.cause, e.free) for e in status.ledger] == [
        (n, Cause.PROCESS_FAILED, False) for n in (1, 2, 3)
    ]
    assert status.restarts.charged == 2
    assert status.ledger[0].culprit is not None
    assert status.ledger[0].culprit.pod == "digits-1-1"
    assert "ValueError" in world.message("Failed")
    assert "bad batch" in world.message("Failed")
    assert {p["metadata"]["labels"]["thunderhead.dev/attempt"] for p in world.pods().values()} == {"3"}


async def test_the_same_exception_twice_ends_the_job_and_says_so() -> None:
    culprit = Culprit(rank=1, node_rank=1, exit_code=1, reason="NameError", step=7, place="digits.py:41", message="x")
    world = World(lambda pod: ends(pod, Outcome.FAILED, culprit, last=7) if pod.age > 1 and pod.rank == 1 else None)
    world.submit()
    await world.finish()
    assert world.condition("Failed") == ("True", "SameFailure")
    assert [(e.attempt, e.free) for e in world.status.ledger] == [(1, False), (2, False)]
    assert "the same at step 7 in digits.py:41 as in attempt 1" in world.message("Failed")


async def test_a_job_that_never_makes_a_step_says_so() -> None:
    culprit = Culprit(rank=1, node_rank=1, signal="SIGKILL")
    outcomes = (Outcome.PEER_FAILED, Outcome.FAILED)
    world = World(lambda pod: ends(pod, outcomes[pod.rank], culprit) if pod.age > 1 else None)
    world.submit(job(restarts={"maxRestarts": 3}))
    await world.finish()
    assert world.condition("Failed") == ("True", "NoProgress")
    assert "4 executions in a row made no new step" in world.message("Failed")


def met(world: World) -> StatusReply | None:
    """Node 0's agent once its pod runs: all ranks have met."""
    uid, attempt = world.uid, world.status.attempt
    pod = world.pods().get(f"digits-{attempt}-0")
    if pod is None or pod["status"]["phase"] != "Running":
        return None
    return StatusReply(uid=uid, attempt=attempt, node_rank=0, phase="Train", world_size=2, ranks_met=2)


async def test_writes_of_an_undisturbed_job() -> None:
    """Pinned, so that a change that costs the API server more is a decision."""
    world = World(done_after(8), wrap=Counting)
    world.agent = met
    world.submit(job(code={"inline": {"files": {"a.py": ""}}}))
    await world.finish()
    assert isinstance(world.api, Counting)
    calls = world.api.calls
    assert calls["create_child"] == 2 + 5, "two pods; frozen job, code, key, Service, NetworkPolicy"
    assert calls["patch_job_status"] <= 5
    assert calls["post_event"] == 3
    assert calls.get("delete_child", 0) == 0
    assert world.api.mutating <= 13 + 2
    assert world.events() == ["AttemptStarted", "Running", "Completed"]


async def test_the_first_pod_is_few_calls_away() -> None:
    """Each is a round trip on the way from create to the first pod: read, promise, furniture, pod."""
    world = World(wrap=Counting)
    world.submit()
    await world.one_pass(KEY)
    assert isinstance(world.api, Counting)
    assert len(world.pods()) == 2
    assert world.api.calls["get_job"] == world.api.calls["list_children"] == world.api.calls["patch_job_status"] == 1


async def test_missing_code_blocks_and_heals() -> None:
    world = World()
    world.submit(job(code={"configMap": {"name": "digits-code"}}))
    await world.tick(2)
    assert world.condition("Blocked") == ("True", "ConfigMapMissing")
    assert world.pods() == {}
    world.cluster.create(
        {"kind": "ConfigMap", "metadata": {"name": "digits-code", "namespace": NAMESPACE}, "data": {"a.py": "1"}}
    )
    await world.finish()
    assert world.cluster.get("ConfigMap", NAMESPACE, code_config_map_name(NAME, world.uid, 1))["data"] == {"a.py": "1"}
    assert world.condition("Complete") is not None
    assert world.events()[:3] == ["AttemptStarted", "Blocked", "Completed"]


async def test_an_obstacle_of_an_earlier_attempt_blocks_no_later_one() -> None:
    full = True

    class Quota(Proxy):
        async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
            if name == "create_child" and args[0] is Kind.POD and full:
                raise Forbidden("exceeded quota: one-pod")
            return await call()

    world = World(done_after(3), wrap=Quota)
    world.submit()
    await world.run(lambda w: w.condition("Blocked") == ("True", "QuotaExceeded"))
    world.edit_spec(suspend=True)
    await world.run(lambda w: w.status.phase is Phase.SUSPENDED)
    full = False
    world.edit_spec(suspend=False)
    await world.finish()
    assert world.status.phase is Phase.COMPLETE
    assert world.events().count("Blocked") == 1, world.events()


async def test_a_quota_blocks_and_heals() -> None:
    allowed = 1

    class Quota(Proxy):
        async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
            pods = await self.api.list_labelled(Kind.POD, None)
            if name == "create_child" and args[0] is Kind.POD and len(pods) >= allowed:
                raise Forbidden("exceeded quota: one-pod")
            return await call()

    world = World(wrap=Quota)
    world.submit()
    await world.tick(5)
    assert world.condition("Blocked") == ("True", "QuotaExceeded")
    assert "one-pod" in world.message("Blocked")
    assert set(world.pods()) == {"digits-1-0"}
    allowed = 2
    await world.tick(4)
    assert world.condition("Blocked") == ("False", "NotBlocked")
    assert set(world.pods()) == {"digits-1-0", "digits-1-1"}


@pytest.mark.parametrize(
    ("said", "by"),
    [
        ('"trainingSeconds":100.0', '"trainingSeconds":1e999'),
        ('"trainingSeconds":100.0', '"trainingSeconds":NaN'),
        ('"lastStep":100', f'"lastStep":{10**30}'),
        ('"firstStep":0', f'"firstStep":-{10**30}'),
        ('"step":90', f'"step":{10**30}'),
        ('"metrics":{}', '"metrics":{"loss":NaN}'),
    ],
)
async def test_no_number_that_a_pod_writes_holds_its_job_up(said: str, by: str) -> None:
    """Any process of a pod can write its record; what the API server would not take must not come near the status."""

    def lie(pod: Pod) -> End | None:
        record = ends(pod, Outcome.DONE, last=100, checkpoint=90).record
        assert record is not None
        text = record.model_dump_json()
        assert said in text
        return End(0, message=text.replace(said, by), reason="Completed") if pod.age >= 3 else None

    world = World(lie)
    world.submit()
    await world.finish(60)
    assert world.status.phase is Phase.COMPLETE
    status = json.dumps(world.raw["status"], allow_nan=False)
    assert all(abs(int(number)) < 2**53 for number in re.findall(r"-?\d+", status))


async def test_suspended_from_the_start() -> None:
    world = World()
    world.submit(job(suspend=True))
    await world.tick(3)
    assert world.condition("Suspended") == ("True", "Suspended")
    assert (world.status.attempt, world.pods()) == (0, {})
    world.edit_spec(suspend=False)
    await world.finish()
    assert world.condition("Suspended") == ("False", "NotSuspended")
    assert world.status.attempt == 1


async def test_time_to_live_removes_everything() -> None:
    world = World()
    world.submit(job(ttlSecondsAfterFinished=10))
    await world.finish()
    await world.tick(9)
    assert world.cluster.all(KIND)
    await world.tick(2)
    assert world.cluster.all(KIND) == world.cluster.all("ConfigMap") == []


async def test_startup_deadline_names_who_is_missing() -> None:
    world = World()
    world.kubelets.held = True
    world.submit(job(startupDeadlineSeconds=20))
    await world.finish()
    assert world.condition("Failed") == ("True", "StartupDeadlineExceeded")
    assert "node ranks 0, 1" in world.message("Failed")
    assert world.pods() == {}


async def test_active_deadline_does_not_tick_while_suspended() -> None:
    world = World(lambda pod: None)
    world.submit(job(activeDeadlineSeconds=60))
    await world.tick(20)
    world.edit_spec(suspend=True)
    await world.tick(500)
    world.edit_spec(suspend=False)
    await world.tick(30)
    assert world.condition("Failed") is None
    await world.finish(limit=60)
    assert world.condition("Failed") == ("True", "ActiveDeadlineExceeded")


async def test_free_restarts_that_lead_nowhere_have_an_end() -> None:
    world = World(lambda pod: None)
    world.submit()
    for _ in range(400):
        await world.tick()
        if world.condition("Failed"):
            break
        for name, pod in world.pods().items():
            if pod["status"]["phase"] == "Running" and name.endswith("-0") and world.status.pods_created_at:
                world.cluster.delete_pod(NAMESPACE, name, grace_s=0)
    assert world.condition("Failed") == ("True", "NoProgress")
    assert len(world.status.ledger) == 11, "the first one made steps that were new"
    assert world.status.restarts.charged == 0


async def test_deleting_the_children_of_a_finished_job_revives_nothing() -> None:
    world = World()
    world.submit()
    await world.finish()
    for name in world.pods():
        world.cluster.delete_pod(NAMESPACE, name)
    world.cluster.remove("ConfigMap", NAMESPACE, job_config_map_name(NAME, world.uid, 1))
    world.cluster.remove("Service", NAMESPACE, NAME)
    world.edit_spec(seed=1, nodes=5)
    await world.tick(5)
    assert world.pods() == {}
    assert world.condition("Complete") == ("True", "Completed")


class Meddled(Proxy):
    """Somebody else does something just before the ``number``-th mutating call."""

    def __init__(self, api: ClusterApi, number: int, meddle: Callable[[MemoryCluster], None]) -> None:
        super().__init__(api)
        self.number, self.meddle, self.count = number, meddle, 0

    async def around(self, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        if name in MUTATING:
            self.count += 1
            if self.count == self.number:
                assert isinstance(self.api, MemoryCluster)
                self.meddle(self.api)
        return await call()


def delete_job(cluster: MemoryCluster) -> None:
    with contextlib.suppress(NotFound):
        cluster.remove(KIND, *KEY)


def edit_job(cluster: MemoryCluster) -> None:
    cluster.edit(KIND, *KEY, lambda o: o["spec"].update(seed=7, image="other:2"))


async def test_a_job_deleted_in_mid_pass_leaves_nothing() -> None:
    """Whatever call of a pass the deletion falls before."""
    for number in range(1, 9):
        world = World(wrap=partial(Meddled, number=number, meddle=delete_job))
        world.submit()
        await world.tick(5)
        assert world.cluster.all("Pod") == world.cluster.all("ConfigMap") == world.cluster.all("Service") == []
        assert world.reconciler.memories == {}


async def test_a_job_edited_in_mid_pass_is_never_half_applied() -> None:
    for number in range(1, 9):
        world = World(wrap=partial(Meddled, number=number, meddle=edit_job))
        world.submit()
        await world.finish()
        last = world.status.attempt
        pods = [p for p in world.pods().values() if p["metadata"]["labels"][Label.ATTEMPT] == str(last)]
        assert {c["image"] for p in pods for c in p["spec"]["containers"]} == {"other:2"}
        name = job_config_map_name(NAME, world.uid, last)
        frozen = json.loads(world.cluster.get("ConfigMap", NAMESPACE, name)["data"]["job.json"])
        assert (frozen["specHash"], frozen["spec"]["seed"]) == (world.status.spec_hash, 7)
        assert world.status.restarts.charged == 0


async def test_a_job_of_the_same_name_again_waits_for_the_old_one_to_go() -> None:
    world = World(lambda pod: None)
    world.submit()
    await world.tick(5)
    world.kubelets.slow = {"digits-1-0"}
    world.cluster.remove(KIND, *KEY)
    world.submit(job(seed=1))
    await world.tick(3)
    assert world.condition("Blocked") == ("True", "NameTaken")
    world.kubelets.slow.clear()
    world.kubelets.script = done_after(3)
    await world.finish()
    assert world.condition("Complete") is not None


async def test_stopped_pods_of_an_old_attempt_go_when_the_next_is_under_way() -> None:
    def crash_once(pod: Pod) -> End | None:
        if pod.attempt > 1:
            return None
        return ends(pod, Outcome.FAILED, Culprit(rank=0, node_rank=0)) if pod.rank == 0 and pod.age > 1 else None

    world = World(crash_once)
    world.submit()
    await world.run(lambda w: w.status.attempt == 2 and w.status.pods_created_at is not None)
    await world.tick(10)
    assert set(world.pods()) == {"digits-2-0", "digits-2-1"}
    assert [m["metadata"]["name"] for m in world.cluster.all("ConfigMap")] == [job_config_map_name(NAME, world.uid, 2)]


async def test_survivors_get_seconds_and_a_kubelet_that_does_not_answer_is_overruled() -> None:
    """Failure, 5 s of grace, 10 s overdue, by force, next attempt."""
    world = World(lambda pod: ends(pod, Outcome.FAILED) if (pod.attempt, pod.rank) == (1, 0) else None)
    world.kubelets.slow = {"digits-1-1"}
    world.submit()
    await world.run(lambda w: w.status.ending is not None)
    begun = world.time
    await world.run(lambda w: w.status.attempt == 2, limit=30)
    assert 14 <= (world.time - begun).total_seconds() <= 17


async def test_a_dead_node_costs_no_grace() -> None:
    world = World(lambda pod: None)
    world.submit()
    await world.tick(5)
    world.kubelets.lose_node("node-1")
    begun = world.time
    await world.run(lambda w: w.status.attempt == 2 and w.status.pods_created_at is not None, limit=30)
    assert (world.time - begun).total_seconds() <= 7
    assert [(e.cause, e.free) for e in world.status.ledger] == [(Cause.NODE_LOST, True)]


CODE = {"configMap": {"name": "mine"}}


def users_code(world: World, text: str | None) -> None:
    """The user makes, edits or deletes the ConfigMap of the code."""
    there = [o for o in world.cluster.all("ConfigMap") if o["metadata"]["name"] == "mine"]
    if text is None:
        world.cluster.remove("ConfigMap", NAMESPACE, "mine", there[0]["metadata"]["uid"])
    elif there:
        world.cluster.edit("ConfigMap", NAMESPACE, "mine", lambda o: o.update(data={"a.py": text}))
    else:
        meta = {"name": "mine", "namespace": NAMESPACE}
        world.cluster.create({"kind": "ConfigMap", "metadata": meta, "data": {"a.py": text}})


def code_of(world: World, attempt: int) -> dict[str, str]:
    name = code_config_map_name(NAME, world.uid, attempt)
    data: dict[str, str] = world.cluster.get("ConfigMap", NAMESPACE, name)["data"]
    return data


async def lose_pod(world: World, attempt: int) -> None:
    """The next attempt begins."""
    world.cluster.delete_pod(NAMESPACE, f"digits-{attempt}-1", grace_s=0)
    await world.run(lambda w: w.status.attempt > attempt and w.status.pods_created_at is not None)


@pytest.mark.parametrize("text", ["edited", None])
async def test_recovery_runs_the_code_that_the_job_began_with(text: str | None) -> None:
    world = World(lambda pod: None)
    users_code(world, "first")
    world.submit(job(code=CODE))
    await world.run(lambda w: w.status.pods_created_at is not None)
    first = world.status.code_hash
    users_code(world, text)
    for attempt in (1, 2):
        await lose_pod(world, attempt)
        assert code_of(world, attempt + 1) == {"a.py": "first"}
        assert world.status.code_hash == first
    await world.run(lambda w: w.condition("CodeChanged") is not None)
    reason = "CodeDeleted" if text is None else "CodeEdited"
    assert world.condition("CodeChanged") == ("True", reason)
    assert world.events().count("CodeChanged") == 1
    assert ("a.py" in world.message("CodeChanged")) == (text is not None)
    assert [(e.cause, e.code_hash) for e in world.status.ledger] == [(Cause.POD_DELETED, first)] * 2
    assert world.condition("Blocked") in (None, ("False", "NotBlocked"))
    users_code(world, "first")
    world.time += timedelta(seconds=61)
    await world.run(lambda w: w.condition("CodeChanged") == ("False", "SameCode"))


async def test_an_edit_is_noticed_while_the_job_runs_and_taken_on_request() -> None:
    world = World(lambda pod: None)
    users_code(world, "first")
    world.submit(job(code=CODE))
    await world.run(lambda w: w.status.pods_created_at is not None)
    users_code(world, "second")
    world.agent = met
    await world.run(lambda w: w.condition("CodeChanged") == ("True", "CodeEdited"), limit=70)
    assert world.status.attempt == 1, "an edit ends nothing"
    world.cluster.edit(KIND, *KEY, lambda o: o["metadata"].update(annotations={Label.JOB: "x"}))
    await world.tick(2)
    assert world.status.attempt == 1
    for attempt, value in ((2, "one"), (3, "two")):
        world.cluster.edit(
            KIND, *KEY, lambda o, value=value: o["metadata"].update(annotations={Annotation.RESTART.value: value})
        )
        await world.run(lambda w, n=attempt: w.status.attempt == n and w.status.pods_created_at is not None)
        assert code_of(world, attempt) == {"a.py": "second"}
    world.cluster.edit(KIND, *KEY, lambda o: o["metadata"].update(annotations={}))
    await lose_pod(world, 3)
    assert code_of(world, 4) == {"a.py": "second"}
    causes = [(e.cause, e.free) for e in world.status.ledger]
    assert causes == [(Cause.RESTART_REQUESTED, True), (Cause.RESTART_REQUESTED, True), (Cause.POD_DELETED, True)]
    assert world.events().count("CodeTaken") == 1
    assert world.condition("CodeChanged") == ("False", "SameCode")
    assert len({e.code_hash for e in world.status.ledger}) == 2


async def test_a_changed_spec_is_told_path_by_path_and_takes_the_code_of_now() -> None:
    world = World(lambda pod: None)
    users_code(world, "first")
    module = {"class_path": "digits.Classifier", "init_args": {"lr": 0.01}}
    world.submit(job(code=CODE, module=module))
    await world.run(lambda w: w.status.pods_created_at is not None)
    users_code(world, "second")
    world.edit_spec(module=module | {"init_args": {"lr": 0.003}}, seed=7)
    await world.run(lambda w: w.status.attempt == 2 and w.status.pods_created_at is not None)
    assert code_of(world, 2) == {"a.py": "second"}
    said = ["module.init_args.lr: 0.01 → 0.003", "seed: (not set) → 7"]
    assert world.status.changes == said
    assert world.status.ledger[0].culprit is not None
    assert world.status.ledger[0].culprit.message == "; ".join(said)
    notes = {e["reason"]: e["note"] for e in world.cluster.all("Event")}
    assert said[0] in notes["AttemptEnded"]
    assert said[1] in notes["SpecChanged"]
    await lose_pod(world, 2)
    assert world.status.changes == [], "nothing was changed since"


async def test_a_spec_changed_while_suspended_is_told_too() -> None:
    world = World(lambda pod: None)
    world.submit(job(suspend=False))
    await world.run(lambda w: w.status.pods_created_at is not None)
    world.edit_spec(suspend=True)
    await world.run(lambda w: w.condition("Suspended") == ("True", "Suspended"))
    world.edit_spec(suspend=False, seed=3)
    await world.run(lambda w: w.status.attempt == 2)
    assert world.status.changes == ["seed: (not set) → 3"]
    assert world.events().count("SpecChanged") == 1


async def test_what_a_resume_made_of_edits_is_told_once() -> None:
    world = World(lambda pod: None)
    said = ["the checkpoint's settings stand, not those of now: SGD lr: 0.01, now 0.003"]

    def resumed(w: World) -> StatusReply | None:
        reply = met(w)
        notes = said if w.status.attempt == 1 else []
        return reply and reply.model_copy(update={"first_step": 7, "step": 7, "resume_notes": notes})

    world.agent = resumed
    world.submit()
    await world.run(lambda w: w.status.resume_notes == said, limit=20)
    await world.tick(30)
    assert world.events().count("ResumedAfterEdit") == 1
    await lose_pod(world, 1)
    assert world.status.resume_notes == []
