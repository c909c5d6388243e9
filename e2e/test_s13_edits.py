"""Scenario 13: code and spec are edited while the job runs. A recovery runs what the job began with; edits are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .support.api import CONFIG_MAPS, JOBS, PODS, Api
from .support.figures import Figures
from .support.fixtures import Start
from .support.jobs import ProbeJob, Site, workload_files
from .support.run import Run, condition

SCENARIO = "13 edits"
CODE = "edited-code"
RESTART = "thunderhead.dev/restart"


def users_code(api: Api, namespace: str, note: str) -> None:
    files = workload_files()
    files["probe.py"] += f"\n# {note}\n"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CODE}, "data": files}
    api.apply(CONFIG_MAPS, namespace, body)


def wait_status(run: Run, wanted: Callable[[dict[str, Any]], bool], what: str, timeout_s: float = 90) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        status = run.status()
        return status if wanted(status) else None

    return run.wait(look, what, timeout_s=timeout_s)


def lose_pod(run: Run, attempt: int) -> None:
    run.api.delete(PODS, run.namespace, run.pod(0, attempt=attempt)["metadata"]["name"], grace_s=0)
    run.wait_step(1, attempt=attempt + 1)


def test_code_is_frozen_and_edits_are_told(start: Start, api: Api, site: Site, figures: Figures) -> None:
    users_code(api, site.namespace, "first")
    spec = {"code": {"configMap": {"name": CODE}}}
    run = start(ProbeJob(name="edits", samples=1920, epochs=1, step_seconds=0.25, spec=spec))
    first = run.wait_step(12) and run.status()["codeHash"]

    users_code(api, site.namespace, "second")
    lose_pod(run, 1)
    seen = run.wait_condition("CodeChanged", timeout_s=90)
    told = condition(seen.object, "CodeChanged")
    assert told is not None
    assert (told["reason"], "probe.py" in told["message"], RESTART in told["message"]) == ("CodeEdited", True, True)
    status = run.status()
    assert (status["codeHash"], status["ledger"][0]["codeHash"]) == (first, first), "the code it began with"

    api.patch(JOBS, run.namespace, run.name, {"metadata": {"annotations": {RESTART: "once"}}})
    run.wait_step(1, attempt=3)
    status = run.status()
    assert status["ledger"][-1]["cause"] == "RestartRequested"
    second = status["codeHash"]
    assert second != first, "taken on request"

    api.delete(CONFIG_MAPS, run.namespace, CODE)
    lose_pod(run, 3)
    status = wait_status(run, lambda s: s.get("codeHash") == second, "the copy in attempt 4")
    assert condition(run.job(), "Blocked", "True") is None

    run.patch({"trainer": {"log_every_n_steps": 7}})
    status = wait_status(run, lambda s: s["attempt"] == 5, "attempt 5")
    assert status["changes"] == ["trainer.log_every_n_steps: 5 → 7"]
    run.wait_step(1, attempt=5)
    status = run.wait_end(timeout_s=180)["status"]
    assert [e["cause"] for e in status["ledger"]] == [
        "PodDeleted",
        "RestartRequested",
        "PodDeleted",
        "SpecChanged",
        "Completed",
    ]
    assert status["restarts"]["charged"] == 0
    run.wait_told("CodeChanged", "CodeTaken", "SpecChanged", timeout_s=30)
    spent = status["goodput"]["time"]
    figures.note(SCENARIO, "goodput after four restarts", status["goodput"]["ratioPercent"], "%")
    assert spent["counted"] > 0
    assert spent["recovering"] + spent["starting"] > 0
