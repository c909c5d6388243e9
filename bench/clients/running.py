"""One client on one side: its outcome, test by test or line by line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.clients import venvs
from bench.clients.client import Client

SIDES: Final = {"lightning": {}, "thunderhead": {"THUNDERHEAD_COMPAT": "1"}}
_LIMIT_S: Final = 900
_RESULT: Final = "RESULT "


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        passed: tests that passed, or results that a script printed, in order.
        failed: tests that failed, or the script's last line of error.
        seconds: how long it took.
        by: who trained, as the script or the Trainer itself says.
    """

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    seconds: float


def script(client: Client, side: str) -> Outcome:
    """Run what is documented in its own environment, in a folder of its own."""
    path = Path(__file__).parent / "scripts" / client.script
    with tempfile.TemporaryDirectory() as folder:
        said, code, seconds = _run(client, side, [str(path)], folder)
    (venvs.cache() / f"{client.name}.{side}.log").write_text(said)
    return Outcome(_results(said), () if code == 0 else (_last_error(said),), seconds)


def tests(client: Client, side: str, version: str) -> Outcome:
    """Run its own tests, in a copy of the source distribution of the version that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        root, report = Path(folder) / "source", Path(folder) / "report.xml"
        shutil.copytree(venvs.source(client, version), root)
        options = [
            "-q",
            "-p",
            "no:cacheprovider",
            "-o",
            "addopts=",
            "-o",
            "timeout=0",
            f"--junitxml={report}",
            f"--rootdir={root}",
        ]
        said, _, seconds = _run(client, side, ["-m", "pytest", *options, *client.tests], str(root))
        passed, failed = _cases(report, said)
    (venvs.cache() / f"{client.name}.{side}.tests.log").write_text(said)
    return Outcome(passed, failed, seconds)


def _run(client: Client, side: str, arguments: list[str], folder: str) -> tuple[str, int, float]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("THUNDERHEAD_COMPAT", "PYTHONPATH")}
    environ = {**inherited, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **dict(client.variables), **SIDES[side]}
    command = [str(venvs.environment(client)), *arguments]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        said, code = f"{done.stdout}\n{done.stderr}", done.returncode
    except subprocess.TimeoutExpired as error:
        said, code = f"{error.stdout or b''!r}\ntook longer than {_LIMIT_S} s", 124
    return said, code, time.monotonic() - began


def _results(said: str) -> tuple[str, ...]:
    return tuple(line.removeprefix(_RESULT) for line in said.splitlines() if line.startswith(_RESULT))


def _last_error(said: str) -> str:
    lines = [line for line in said.splitlines() if re.match(r"^[\w.]+(Error|Exception|Exit)\b", line)]
    return (lines or said.strip().splitlines() or ["no output"])[-1][:300]


def _cases(report: Path, said: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not report.exists():
        return (), (_last_error(said),)
    passed, failed = [], []
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed.append(name)
        elif "skipped" not in kinds:
            passed.append(name)
    return tuple(passed), tuple(failed)
