"""What may be changed of a job that has saved something, by the API server's own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)  # the first run compiles the judge

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]
WORLD = {"nodes": 2, "processesPerNode": 4, "checkpointUri": "s3://bucket/a", "fixed": True}


def job(world: dict[str, Any] | None = None, *, resume: str = "Auto", **spec: Any) -> dict[str, Any]:
    """A job of two nodes by four processes; ``uri`` is short for that of its checkpoints."""
    checkpoint = {"uri": spec.pop("uri", "s3://bucket/a"), "resume": resume}
    base = {"module": {"class_path": "a.B"}, "nodes": 2, "processesPerNode": 4, "checkpoint": checkpoint}
    return {
        "apiVersion": "thunderhead.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "a", "namespace": "b", "resourceVersion": "1"},
        "spec": base | spec,
        **({} if world is None else {"status": {"attempt": 1, "world": world}}),
    }


OLD = {
    "fixed": job(WORLD),
    "not fixed": job({**WORLD, "fixed": False}),
    "older operator": job({}),
    "new": job(),
    "changed before": job(WORLD, nodes=3, processesPerNode=2, uri="s3://bucket/b"),
}


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("fixed", job(nodes=1), "spec.nodes"),
        ("fixed", job(processesPerNode=2), "spec.processesPerNode"),
        ("fixed", job(uri="s3://bucket/b"), "spec.checkpoint.uri"),
        ("fixed", job(nodes=1, processesPerNode=8, uri="s3://bucket/b", resume="Never"), None),
        ("fixed", job(processesPerNode="Auto"), None),
        ("fixed", job(seed=3), None),
        ("not fixed", job(nodes=1), None),
        ("older operator", job(nodes=1), None),
        ("new", job(nodes=1, processesPerNode=1, uri="file:///x"), None),
        ("changed before", job(), None),
        ("changed before", job(nodes=3, processesPerNode=2, uri="s3://bucket/b", seed=1), None),
        ("changed before", job(nodes=4, processesPerNode=2, uri="s3://bucket/b"), "spec.nodes"),
    ],
)
def test_what_was_saved_keeps_the_ranks_and_the_place(
    judge: Judge, old: str, new: dict[str, Any], refused: str | None
) -> None:
    report = judge([{"text": json.dumps(new), "old": json.dumps(OLD[old])}])
    assert report["crd"] == []
    errors = report["verdicts"][0]["errors"]
    assert [error["field"] for error in errors] == ([refused] if refused else [])
    assert all("checkpoint.resume: Never" in error["detail"] for error in errors)


def test_the_operator_writes_status_whatever_the_spec_was_changed_to(judge: Judge) -> None:
    """A rule on the whole object is asked of status writes too."""
    changed = OLD["changed before"]
    later = {**changed, "status": {**changed["status"], "attempt": 2}}
    (verdict,) = judge([{"text": json.dumps(later), "old": json.dumps(changed), "status": True}])["verdicts"]
    assert verdict["errors"] == []
