"""Scenario 4: a node freezes in mid-upload and thaws after attempt 2 has committed; the zombie commits in vain."""

from __future__ import annotations

import re
import time

from .cluster.api import Cluster
from .support.committed import Commits
from .support.figures import Figures
from .support.fixtures import Start
from .support.gate import Gate, Request
from .support.hands import Hands
from .support.jobs import ProbeJob
from .support.waiting import eventually

SCENARIO = "4 zombie"
AGENT = "thunderhead_agent"
HELD_STEP = 20


def one_node(name: str, endpoint: str) -> ProbeJob:
    """A job of one node that is slow enough to be frozen at a step of our choice."""
    through_gate = {"checkpoint": {"s3": {"endpoint": endpoint}, "keep": 100}}
    return ProbeJob(name=name, step_seconds=0.1, samples=160, every_steps=10, spec=through_gate)


def test_a_frozen_node_cannot_commit_once_another_has(
    start: Start, healed: Cluster, hands: Hands, gate: Gate, commits: Commits, figures: Figures
) -> None:
    calm = start(one_node("calm", gate.endpoint))
    calm.wait_end()

    run = start(one_node("zombie", gate.endpoint))
    gate.hold(lambda request: is_upload(request, run.name, HELD_STEP, attempt=1))
    gate.wait_for(lambda request: is_upload(request, run.name, HELD_STEP, attempt=1), "the upload", timeout_s=120)
    pod = run.pod(0, attempt=1)
    node = pod["spec"]["nodeName"]
    hands.keep_log(node, pod)
    healed.freeze(node)
    frozen_at = time.time()

    resumed = run.wait_step(1, attempt=2, timeout_s=150)
    figures.note(SCENARIO, "node frozen → first new step elsewhere ended", resumed.at - frozen_at, "s")
    assert run.pod(0, attempt=2)["spec"]["nodeName"] != node
    eventually(lambda: commits.counting(run)[0].execution.attempt == 2, "a commit of attempt 2", timeout_s=60)

    healed.thaw(node)
    gate.open()
    thawed_at = time.time()
    eventually(lambda: hands.count(node, AGENT) == 0, "the end of the zombie", timeout_s=60)
    figures.note(SCENARIO, "node thawed → zombie ended", time.time() - thawed_at, "s")
    last_words = hands.kept_log(node)

    status = run.wait_end()["status"]
    said = [line for line in last_words.splitlines() if re.search("supersede", line, re.IGNORECASE)]
    assert said, last_words
    figures.note(SCENARIO, "the zombie's last words", said[-1].partition("F ")[2])
    assert [(one["cause"], one["free"]) for one in status["ledger"]] == [("NodeLost", True), ("Completed", True)]
    late = [commit for commit in commits.counting(run) if commit.execution.attempt == 1 and commit.step >= HELD_STEP]
    assert late == [], "what the zombie wrote after attempt 2 had begun does not count"
    commit_key = rf"/{run.name}/[^/]+/steps/0*{HELD_STEP}/0*1-\d+\.json"
    tried = [r.path for r in gate.requests if r.method == "PUT" and re.search(commit_key, r.path)]
    assert tried, "the zombie did try to commit, late"
    written = [request.path for request in gate.requests if is_upload(request, run.name, HELD_STEP + 10, attempt=1)]
    assert written == [], "the zombie saved nothing after it"
    assert commits.newest(run).differences(commits.newest(calm)) == []


def is_upload(request: Request, job: str, step: int, *, attempt: int) -> bool:
    """Whether this writes a shard of a step."""
    wanted = rf"/{job}/[^/]+/shards/0*{attempt}-\d+/0*{step}/"
    return request.method == "PUT" and re.search(wanted, request.path) is not None
