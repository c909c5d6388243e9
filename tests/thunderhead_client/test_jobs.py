"""The verbs of ``Jobs`` against a cluster in memory."""

from __future__ import annotations

import threading

import pytest
from cl_cluster import Served
from op_agent import runs_attempt, tells_where_it_is
from op_world import NAME, job

from thunderhead_api.treaty import KIND, Annotation
from thunderhead_api.validate import InvalidJob
from thunderhead_client import JobNotFound, Jobs, NotAllowed, NotInstalled, Refused, TookTooLong, Until


@pytest.fixture
def jobs(cluster: Served) -> Jobs:
    return Jobs.connect()


def test_a_job_is_submitted_read_and_listed(cluster: Served, jobs: Jobs) -> None:
    made = jobs.submit(job())
    assert (made.name, made.namespace, made.phase) == (NAME, cluster.namespace, "Pending")
    jobs.submit(job("another"))
    assert [found.name for found in jobs.list()] == ["another", NAME]
    assert jobs.get(NAME).spec.nodes == 2
    assert jobs.get(NAME).uid == made.uid


def test_submitting_again_changes_it(cluster: Served, jobs: Jobs) -> None:
    jobs.submit(job())
    assert jobs.submit(job(nodes=3)).spec.nodes == 3
    assert len(jobs.list()) == 1


def test_a_finished_job_is_not_revived(cluster: Served, jobs: Jobs) -> None:
    jobs.submit(job())
    cluster.do(cluster.world.finish())
    for verb in (lambda: jobs.submit(job()), lambda: jobs.suspend(NAME), lambda: jobs.restart(NAME)):
        with pytest.raises(Refused, match=r"digits'?: has ended .*\(?Complete"):
            verb()


def test_what_the_api_server_would_refuse_is_said_in_full(jobs: Jobs) -> None:
    with pytest.raises(InvalidJob, match=r"spec\.nodes = 0"):
        jobs.submit(job(nodes=0))


def test_suspend_resume_restart_and_delete(cluster: Served, jobs: Jobs) -> None:
    cluster.world.kubelets.script = lambda pod: None
    cluster.world.agent = tells_where_it_is
    jobs.submit(job())
    cluster.until(runs_attempt(1))
    assert jobs.wait(NAME, Until.RUNNING, timeout_s=5).status.attempt == 1
    jobs.suspend(NAME)
    cluster.until(lambda world: world.condition("Suspended") == ("True", "Suspended"))
    assert jobs.wait(NAME, "suspended", timeout_s=5).is_suspended
    assert jobs.wait(NAME, "over", timeout_s=5).exit_code == 75
    jobs.resume(NAME)
    cluster.until(runs_attempt(2))
    jobs.restart(NAME)
    cluster.until(runs_attempt(3))
    last = jobs.get(NAME).status
    assert [(entry.cause.value, entry.free) for entry in last.ledger] == [
        ("Suspended", True),
        ("RestartRequested", True),
    ]
    assert last.restarts.charged == 0
    jobs.delete(NAME)
    assert cluster.call(lambda: cluster.world.cluster.all(KIND)) == []


def test_a_restart_has_another_value_each_time(cluster: Served, jobs: Jobs) -> None:
    jobs.submit(job())
    values = {jobs.restart(NAME).raw["metadata"]["annotations"][Annotation.RESTART] for _ in range(2)}
    assert len(values) == 2


def test_what_is_not_there_is_named(cluster: Served, jobs: Jobs) -> None:
    with pytest.raises(JobNotFound, match=r"TrainingJob 'nosuch': there is none in namespace 'team'; thunderhead list"):
        jobs.get("nosuch")
    with pytest.raises(JobNotFound):
        next(jobs.stream("nosuch"))


@pytest.mark.parametrize(
    ("status", "message", "kind", "said"),
    [
        (404, "404 page not found", NotInstalled, "knows no TrainingJobs; install the chart"),
        (403, "no", NotAllowed, "no; ask for the right to read trainingjobs in namespace 'team'"),
        (401, "Unauthorized", NotAllowed, "log in again"),
        (422, "spec: too long", Refused, "the API server refuses it: spec: too long"),
    ],
)
def test_refusals_say_what_to_do(
    cluster: Served, jobs: Jobs, status: int, message: str, kind: type[Exception], said: str
) -> None:
    cluster.server.fail_next = [(status, {}, {"message": message})]
    with pytest.raises(kind, match=said):
        jobs.get(NAME)


def test_changes_come_as_they_happen(cluster: Served, jobs: Jobs) -> None:
    jobs.submit(job())
    stream = jobs.stream(NAME)
    assert next(stream).job.phase == "Pending"
    finishing = threading.Thread(target=lambda: cluster.do(cluster.world.finish()))
    finishing.start()
    phases = [next(stream).job.phase]
    while phases[-1] != "Complete":
        phases.append(next(stream).job.phase)
    finishing.join()
    assert "Starting" in phases
    jobs.delete(NAME)
    assert next(change for change in stream if change.is_gone).job.name == NAME
    assert list(stream) == []


def test_a_watch_that_breaks_is_begun_again(cluster: Served, jobs: Jobs) -> None:
    jobs.submit(job())
    stream = jobs.stream(NAME)
    next(stream)
    breaking = threading.Thread(target=next, args=(stream,))
    breaking.start()
    while not cluster.call(lambda: list(cluster.server.watches)):
        pass
    cluster.call(lambda: cluster.server.break_watches(KIND))
    breaking.join(10)
    jobs.suspend(NAME)
    assert next(change for change in stream if change.job.raw["spec"].get("suspend"))


def test_waiting_has_an_end(cluster: Served, jobs: Jobs) -> None:
    jobs.submit(job())
    with pytest.raises(TookTooLong, match="is Pending and not finished after 1 s"):
        jobs.wait(NAME, timeout_s=1)


def test_a_job_that_is_deleted_is_not_waited_for(cluster: Served, jobs: Jobs) -> None:
    jobs.submit(job())
    waiting = threading.Timer(0.2, lambda: jobs.delete(NAME))
    waiting.start()
    with pytest.raises(JobNotFound, match="was deleted while it was waited for"):
        jobs.wait(NAME, timeout_s=10)
    waiting.join()
