"""The line that sums up a run of all tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TALLY = Path(__file__).parent.parent / "tools/tally.py"
PASS, FAIL, ERROR, SKIP = "<testcase/>", *(f"<testcase><{tag}/></testcase>" for tag in ("failure", "error", "skipped"))


def run(*reports: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, TALLY, *reports], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("first", "second", "code", "line"),
    [
        ([PASS, PASS], [PASS], 0, "3 passed, 0 failed"),
        ([PASS, SKIP], [PASS], 0, "2 passed, 0 failed"),
        ([PASS], [FAIL, PASS], 1, "2 passed, 1 failed"),
        ([ERROR], [PASS], 1, "1 passed, 1 failed"),
        ([], [], 1, "0 passed, 0 failed"),
    ],
)
def test_counts(tmp_path: Path, first: list[str], second: list[str], code: int, line: str) -> None:
    for name, cases in (("a.xml", first), ("b.xml", second)):
        (tmp_path / name).write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    assert run(tmp_path / "a.xml", tmp_path / "b.xml") == (code, line)


@pytest.mark.parametrize("content", [None, "<testsuites><tests"])
def test_lost_report_is_a_failure(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "a.xml").write_text(content)
    assert run(tmp_path / "a.xml") == (1, "0 passed, 1 failed")
