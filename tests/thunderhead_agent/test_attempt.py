"""An attempt of two nodes with two workers each, as real processes: each way it can end, by exit code and record.

Most agents are forked from a process that has imported torch already; the first test and those about the start are not.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agent_attempts import Start, alive

from thunderhead_api.treaty import Env, ExitCode, Outcome

pytestmark = pytest.mark.timeout(400)


def test_success_and_what_is_told_meanwhile(start: Start) -> None:
    attempt = start("entries:short", cold=True)
    assert attempt.wait() == [ExitCode.DONE, ExitCode.DONE], attempt.logs()
    for rank, node in enumerate(attempt.nodes):
        record = node.record
        assert (record.outcome, record.culprit, record.node_rank, record.attempt) == (Outcome.DONE, None, rank, 3)
        assert (record.first_step, record.last_step, record.metrics["loss"]) == (0, 10, 0.1)
        assert record.first_step_at is not None
    greetings = [line for line in attempt.logs().splitlines() if "hello" in line]
    assert sorted(greetings) == [f"[rank {r}] hello from rank {r} of 4" for r in range(4)]
    assert not list(Path("/dev/shm").glob(f"thunderhead-u-{os.getpid()}-*"))


@pytest.mark.parametrize(
    ("fault", "culprit_node", "outcome", "expected"),
    [
        pytest.param("kill@2", 1, Outcome.FAILED, {"signal": "SIGKILL", "reason": "SIGKILL"}, id="SIGKILL"),
        pytest.param("raise@1", 0, Outcome.FAILED, {"reason": "ValueError", "exit_code": 1}, id="exception"),
        pytest.param("exit@3", 1, Outcome.FAILED, {"reason": "SystemExit", "exit_code": 75}, id="sys.exit(75)"),
        pytest.param("hard_exit@0", 0, Outcome.FAILED, {"reason": "Exit", "exit_code": 78}, id="os._exit(78)"),
        pytest.param("oom@3", 1, Outcome.FAILED, {"signal": "SIGKILL", "reason": "OutOfMemory"}, id="out of memory"),
        pytest.param("segfault@0", 0, Outcome.FAILED, {"signal": "SIGSEGV"}, id="segfault"),
        pytest.param("superseded@1", 0, Outcome.SUPERSEDED, {"reason": "Superseded"}, id="superseded"),
    ],
)
def test_the_culprit_is_named_on_every_node(
    start: Start, fault: str, culprit_node: int, outcome: Outcome, expected: dict[str, Any]
) -> None:
    attempt = start("entries:endless", fault=fault)
    codes = attempt.wait()
    own = {Outcome.FAILED: ExitCode.FAILED, Outcome.SUPERSEDED: ExitCode.SUPERSEDED}[outcome]
    assert codes == [own if node == culprit_node else ExitCode.PEER_FAILED for node in (0, 1)], attempt.logs()
    records = [node.record for node in attempt.nodes]
    assert [r.outcome for r in records] == [outcome if n == culprit_node else Outcome.PEER_FAILED for n in (0, 1)]
    assert records[0].culprit == records[1].culprit
    culprit = records[0].culprit
    assert culprit is not None
    rank = int(fault.partition("@")[2])
    place = {
        "rank": rank,
        "node_rank": culprit_node,
        "pod": f"digits-3-{culprit_node}",
        "node": f"worker-{culprit_node}",
    }
    found = culprit.model_dump(by_alias=False)
    assert {key: found[key] for key in [*place, *expected]} == place | expected, attempt.logs()
    assert culprit.step == 4


def test_invalid_configuration_is_said_by_every_node_that_met_it(start: Start) -> None:
    attempt = start("entries:endless", fault="invalid@0,1,2,3")
    assert attempt.wait() == [ExitCode.INVALID_CONFIGURATION] * 2, attempt.logs()
    assert [n.record.outcome for n in attempt.nodes] == [Outcome.INVALID_CONFIGURATION] * 2
    culprit = attempt.nodes[1].record.culprit
    assert culprit is not None
    assert culprit.message == "no such thing"


@pytest.mark.parametrize("asked", [0, 1])
def test_a_stop_asked_of_one_node_stops_all_after_the_same_step(start: Start, asked: int) -> None:
    attempt = start("entries:endless")
    attempt.until(attempt.is_training)
    reply = attempt.nodes[0].status()
    assert (reply.phase, reply.world_size, reply.ranks_met, reply.attempt) == ("Train", 4, 4, 3)
    assert [(rank.rank, rank.node_rank) for rank in reply.ranks] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert [rank.rank for rank in attempt.nodes[1].status().ranks] == [2, 3]
    assert b'thunderhead_steps_total{rank="2"}' in attempt.nodes[1].get("/metrics")
    assert attempt.nodes[0].get("/healthz") == b"ok\n"
    attempt.nodes[asked].process.send_signal(signal.SIGTERM)
    attempt.nodes[asked].process.send_signal(signal.SIGTERM)
    assert attempt.wait() == [ExitCode.STOPPED] * 2, attempt.logs()
    records = [node.record for node in attempt.nodes]
    assert [record.outcome for record in records] == [Outcome.STOPPED] * 2
    assert len({record.last_step for record in records}) == 1
    assert records[0].checkpoint is not None
    assert records[0].checkpoint.step == records[0].last_step


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_agent_takes_its_workers_with_it_and_its_peers_name_it(start: Start, killed: int) -> None:
    attempt = start("entries:endless")
    attempt.until(attempt.is_training)
    orphans = attempt.nodes[killed].descendants()
    assert len(orphans) >= 3  # the fork server and two workers
    attempt.nodes[killed].process.kill()
    codes = attempt.wait()
    assert codes[1 - killed] == ExitCode.PEER_FAILED, attempt.logs()
    record = attempt.nodes[1 - killed].record
    assert record.outcome is Outcome.PEER_FAILED
    assert record.culprit is not None
    assert (record.culprit.node_rank, record.culprit.pod) == (killed, f"digits-3-{killed}"), attempt.logs()
    assert record.culprit.reason == "AgentLost"
    attempt.until(lambda: not any(alive(pid) for pid in orphans))


def test_an_agent_killed_while_its_fork_server_still_imports_leaves_nothing_behind(start: Start) -> None:
    attempt = start("entries:endless", nodes=1, cold=True)
    node = attempt.nodes[0]
    attempt.until(lambda: "starting 2 workers" in node.log or len(node.descendants()) >= 2)
    below = node.descendants()
    node.process.kill()
    attempt.until(lambda: not any(alive(pid) for pid in below))


def test_nothing_that_a_failed_rank_started_outlives_the_agent(start: Start) -> None:
    attempt = start("entries:endless", fault="orphan@1", nodes=1)
    assert attempt.wait() == [ExitCode.FAILED], attempt.logs()
    pid = int((attempt.nodes[0].directory / "orphan").read_text())
    attempt.until(lambda: not alive(pid))


def test_workers_that_do_not_stop_in_time_are_ended(start: Start) -> None:
    attempt = start("entries:deaf", nodes=1, terminationGracePeriodSeconds=4)
    attempt.until(lambda: "starting 2 workers" in attempt.nodes[0].log)
    attempt.until(lambda: [r.phase for r in attempt.nodes[0].status().ranks] == ["Train", "Train"])
    attempt.nodes[0].process.send_signal(signal.SIGINT)
    assert attempt.wait() == [ExitCode.FAILED], attempt.logs()
    culprit = attempt.nodes[0].record.culprit
    assert culprit is not None
    assert culprit.reason == "GracePeriodExceeded"
    assert culprit.message == "ranks [0, 1] had not stopped 2 s after being asked to"


def test_node_0_names_the_missing_and_stops_before_the_start(start: Start) -> None:
    attempt = start("entries:endless")
    attempt.nodes[1].process.kill()
    attempt.until(lambda: (attempt.nodes[0].directory / "run" / "agent.port").exists())
    reply = attempt.nodes[0].status()
    assert (reply.phase, reply.missing_nodes, reply.ranks) == ("Starting", [1], [])
    attempt.nodes[0].process.send_signal(signal.SIGTERM)
    assert attempt.wait()[0] == ExitCode.STOPPED, attempt.logs()
    assert attempt.nodes[0].record.outcome is Outcome.STOPPED


def test_without_a_job_there_is_a_record_that_says_so(tmp_path: Path) -> None:
    termination = tmp_path / "termination"
    environ = {**os.environ, Env.JOB_FILE: str(tmp_path / "none.json"), Env.TERMINATION_FILE: str(termination)}
    done = subprocess.run([sys.executable, "-m", "thunderhead_agent"], env=environ, capture_output=True, timeout=60)
    assert done.returncode == ExitCode.INVALID_CONFIGURATION
    assert b"THUNDERHEAD_JOB_FILE" in done.stderr
    assert "cannot be read" in str(json.loads(termination.read_bytes())["culprit"]["message"])


def test_the_agent_itself_never_imports_torch() -> None:
    program = "import sys, thunderhead_agent.lifecycle; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
