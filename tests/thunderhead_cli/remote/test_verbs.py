"""Verbs on a cluster as a user meets them: output, errors, exit codes; and what they do not import."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from cl_cluster import Served
from op_agent import runs_attempt, tells_where_it_is
from op_world import NAME, START, job
from typer.testing import CliRunner, Result

from thunderhead_cli.main import app
from thunderhead_cli.remote import verbs


class Clock:
    """The world's."""

    @staticmethod
    def now(_: object) -> object:
        return START.replace(minute=5)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def training(cluster: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """One job in its second attempt, and another that has not begun; it is five minutes past."""
    monkeypatch.setattr(verbs, "datetime", Clock)
    world = cluster.world
    world.kubelets.script = lambda pod: None
    world.agent = tells_where_it_is
    world.submit(job())
    cluster.until(runs_attempt(1))
    assert run("restart", NAME).exit_code == 0
    cluster.until(runs_attempt(2))
    cluster.call(lambda: world.kubelets.__setattr__("held", True))
    cluster.call(lambda: world.submit(job("zebra")))
    return cluster


def test_list(training: Served) -> None:
    result = run("list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "NAME     PHASE     STEP   PROGRESS   ETA   RESTARTS   GOODPUT   AGE\n"
        "digits   Running   5      -          -     1          0%        5m\n"
        "zebra    Pending   -      -          -     0          -         4m55s\n"
    )


def test_list_wide_of_all_namespaces(training: Served) -> None:
    result = run("list", "-A", "-o", "wide")
    assert result.stdout.splitlines()[:2] == [
        "NAMESPACE   NAME     PHASE     STEP   PROGRESS   ETA   RESTARTS   GOODPUT   AGE     "
        "NODES   ATTEMPT   CHECKPOINT   LAST CAUSE         REASON",
        "team        digits   Running   5      -          -     1          0%        5m      "
        "2/2     2         -            RestartRequested   -",
    ]


def test_list_for_programs(training: Served) -> None:
    assert run("list", "-o", "name").stdout == "trainingjob.thunderhead.dev/digits\ntrainingjob.thunderhead.dev/zebra\n"
    found = json.loads(run("list", "-o", "json").stdout)
    assert [item["metadata"]["name"] for item in found["items"]] == ["digits", "zebra"]
    assert yaml.safe_load(run("list", "-o", "yaml").stdout) == found


def test_nothing_is_said_to_be_there_on_stderr(cluster: Served) -> None:
    result = run("list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "there are no jobs in namespace team\n")


def test_suspend_and_resume(training: Served) -> None:
    result = run("suspend", NAME)
    assert result.stdout == "digits: suspending: it commits a checkpoint, then its pods stop\n"
    assert "Suspending" in run("list").stdout
    training.until(lambda world: world.condition("Suspended") == ("True", "Suspended"))
    assert run("suspend", NAME, "--wait").stdout.endswith("digits: suspended\n")
    assert run("restart", NAME).stdout == (
        "digits: is suspended; thunderhead resume begins an attempt with the code as it is by then\n"
    )
    assert run("resume", NAME).stdout == "digits: resuming from its newest checkpoint\n"
    result = run("resume", NAME, "--wait", "--timeout", "1")
    assert (result.exit_code, result.stderr) == (
        1,
        "TrainingJob 'digits': is Suspended and not running after 1 s; "
        "wait longer, or see kubectl describe trainingjob digits\n",
    )


class Ends:
    """Jobs of which each has come to its own end by the time it is waited for."""

    def __init__(self, **phases: str) -> None:
        self.phases = phases

    def suspend(self, name: str) -> None:
        """Taken."""

    def wait(self, name: str, until: str, *, timeout_s: float | None) -> SimpleNamespace:
        """Its phase."""
        return SimpleNamespace(phase=self.phases[name], is_finished=self.phases[name] != "Suspended")


def test_each_of_several_jobs_is_told_its_own_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "jobs_of", lambda *_: Ends(a="Complete", b="Suspended", c="Failed"))
    assert run("suspend", "a", "b", "c", "--wait").stdout.splitlines()[3:] == [
        "a: Complete",
        "b: suspended",
        "c: Failed",
    ]


def test_delete(training: Served) -> None:
    uid = training.call(lambda: training.world.uid)
    result = run("delete", NAME, "--wait")
    assert result.stdout == (
        f"digits: deleted; its checkpoints stay below s3://bucket/prefix/team/digits/{uid}\ndigits: gone\n"
    )
    assert "digits" not in run("list").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["suspend", "nosuch"], 1, "TrainingJob 'nosuch': there is none in namespace 'team'; thunderhead list shows"),
        (["list", "-o", "jsn"], 2, "-o 'jsn': is none of table, wide, json, yaml, name; did you mean 'json'?"),
        (["list", "--context", "nosuch"], 2, "context 'nosuch': is none of "),
        (["list", "--kubeconfig", "/nosuch"], 2, "kubeconfig '/nosuch': is no file; give the path of a kubeconfig"),
        (["suspend"], 2, "Missing argument 'JOB...'"),
    ],
)
def test_errors_have_their_exit_codes(cluster: Served, words: list[str], code: int, said: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_a_cluster_that_does_not_answer(cluster: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    text = cluster.kubeconfig.read_text().replace(cluster.url, "http://127.0.0.1:1")
    cluster.kubeconfig.write_text(text)
    result = run("list")
    assert result.exit_code == 1
    assert result.stderr.startswith("the API server 'http://127.0.0.1:1': gives no answer: ")
    assert result.stderr.endswith("see that it runs and that this machine reaches it (kubectl cluster-info)\n")


def test_help_needs_no_kubernetes() -> None:
    code = (
        "import sys; from thunderhead_cli.main import app; from typer.testing import CliRunner\n"
        "for words in (['--help'], ['list', '--help'], ['validate', '-f', 'nosuch']): CliRunner().invoke(app, words)\n"
        "print([m for m in sys.modules if m.partition('.')[0] in ('kubernetes', 'thunderhead_client', 'torch')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_names_of_jobs_are_completed(training: Served) -> None:
    completing = {"_THUNDERHEAD_COMPLETE": "complete_bash", "COMP_WORDS": "thunderhead suspend d", "COMP_CWORD": "2"}
    result = CliRunner().invoke(app, [], prog_name="thunderhead", env=completing)
    assert result.stdout.split() == ["digits"]
