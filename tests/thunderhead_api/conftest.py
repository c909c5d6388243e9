"""The API server's own validation as a program, built once from tools/crdlint."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.build import build

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "thunderhead.dev_trainingjobs.yaml"

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]


@pytest.fixture(scope="session")
def judge() -> Judge:
    """``judge(cases)`` → the report on the CRD and one verdict per case, as tools/crdlint describes them."""
    program = build("crdlint") / "crdlint"

    def run(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
        done = subprocess.run(
            [program, CRD], input=json.dumps(cases), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return run
