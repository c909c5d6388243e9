"""The API server's own validation as a program: built once from tools/crdlint, kept by the content of its sources."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "tools" / "crdlint"
CRD = ROOT / "crds" / "thunderhead.dev_trainingjobs.yaml"
GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]


def crdlint_program() -> Path:
    """Builds the program unless the cache has it; parallel test workers wait for the first."""
    go = shutil.which("go")
    assert go, "go is not on PATH: install Go to run the tests that judge the CRD by the API server's own code"
    cache = Path(os.environ.get("THUNDERHEAD_CACHE") or Path.home() / ".cache" / "thunderhead")
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    key = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    program = cache / "bin" / f"crdlint-{key}" / "crdlint"
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            unfinished = program.with_suffix(".unfinished")
            build = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(unfinished), "."]
            subprocess.run(build, cwd=SOURCES, env={**os.environ, **GO_ENVIRONMENT}, check=True)
            unfinished.rename(program)
    return program


@pytest.fixture(scope="session")
def judge() -> Judge:
    """``judge(cases)`` → the report on the CRD and one verdict per case, as tools/crdlint describes them."""
    program = crdlint_program()

    def run(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
        done = subprocess.run(
            [program, CRD], input=json.dumps(cases), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return run
