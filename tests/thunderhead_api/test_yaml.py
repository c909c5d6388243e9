"""A job file means the same to the local mode as to kubectl."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from thunderhead_api.validate import validate
from thunderhead_api.walk import as_json
from thunderhead_cli.jobfile import read_job_file

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]

FILE = """
apiVersion: thunderhead.dev/v1alpha1
kind: TrainingJob
metadata: {{name: a, namespace: b}}
spec:
  checkpoint: {{uri: s3://bucket}}
  module:
    class_path: a.B
    init_args:
      x: {scalar}
"""
SCALARS = (
    *("1e-3", "3e-4", "1E5", "1e+3", "-2.5e3", "1e0", "1e15", "1e22", "1e", "1e3.5", "1.0", "-0.0", ".5", "5.", "+.5"),
    *(
        "0",
        "-0",
        "+1",
        "1_000",
        "1_000.5",
        "1_",
        "_1",
        "1__0",
        "010",
        "08",
        "0123",
        "0o17",
        "0b11",
        "0x1F",
        "0xg",
        "0x",
    ),
    *("1:30", "12:00:00:00", "01:00:00:00", "190:20:30.15", "2026-01-01", "2026-01-01T00:00:00Z", "1.2.3", "3d"),
    *("y", "n", "Y", "yes", "No", "on", "OFF", "true", "TRUE", "tRUE", "~", "null", "Null", "nil", "none", "None"),
    *("'1'", '"1e3"', "'yes'", "!!str 1", "!!float 1", "!!int '3'", "=", "{<<: {a: 1}, b: 2}", "[1.0, 2e1, y]"),
    *("9223372036854775807", "-9223372036854775808", "{1: a, 1.5: c}", "{true: b}", "|\n        text\n"),
)


@pytest.mark.timeout(900)
def test_scalars_mean_what_kubectl_takes_them_for(judge: Judge, tmp_path: Path) -> None:
    texts = [FILE.format(scalar=scalar) for scalar in SCALARS]
    verdicts = judge([{"text": text} for text in texts])["verdicts"]
    file = tmp_path / "job.yaml"
    differing = {}
    for scalar, text, verdict in zip(SCALARS, texts, verdicts, strict=True):
        file.write_text(text)
        ours = as_json(read_job_file(file).job)["spec"]["module"]["init_args"].get("x", "nothing")
        assert "stored" in verdict, (scalar, verdict)
        theirs = verdict["stored"]["spec"]["module"]["init_args"].get("x", "nothing")
        if (type(ours), ours) != (type(theirs), theirs):
            differing[scalar] = (ours, theirs)
    assert differing == {}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scalar", [".inf", "-.INF", ".nan"])
def test_what_json_cannot_say_is_refused_by_both(scalar: str, judge: Judge, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(FILE.format(scalar=scalar))
    assert judge([{"text": file.read_text()}])["verdicts"][0]["errors"]
    assert [problem.path for problem in validate(read_job_file(file).job)] == ["spec.module.init_args.x"]
