"""Which Go builds what is written in Go: the one on PATH if it is new enough, else one that is installed for it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "go.sh"


def make_go(path: Path, version: str) -> Path:
    """A program that says it is this version of Go."""
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n[ \"$*\" = 'env GOVERSION' ] && echo {version}\n")
    path.chmod(0o755)
    return path


def chosen(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{tmp_path / 'path'}:/usr/bin:/bin", "THUNDERHEAD_CACHE": str(tmp_path / "cache")}
    return subprocess.run([TOOL], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Where the package's Go lies once it is installed."""
    key = hashlib.sha256((ROOT / "requirements" / "go.txt").read_bytes()).hexdigest()[:16]
    return tmp_path / "cache" / "go" / key / "go" / "bin" / "go"


@pytest.mark.parametrize(
    ("on_path", "is_chosen"),
    [("go1.26.0", True), ("go1.27.1", True), ("go1.100.0", True), ("go1.25.9", False), ("go1.19.8", False)],
)
def test_the_one_on_path_if_it_is_new_enough(tmp_path: Path, installed: Path, on_path: str, is_chosen: bool) -> None:
    there = make_go(tmp_path / "path" / "go", on_path)
    other = make_go(installed, "go1.26.6")
    assert chosen(tmp_path).stdout == f"{there if is_chosen else other}\n"


@pytest.mark.skipif(os.access("/usr/bin/go", os.X_OK), reason="the system has a Go of its own")
def test_another_where_there_is_none(tmp_path: Path, installed: Path) -> None:
    other = make_go(installed, "go1.26.6")
    assert chosen(tmp_path).stdout == f"{other}\n"


def test_says_so_where_no_go_will_do(tmp_path: Path, installed: Path) -> None:
    make_go(tmp_path / "path" / "go", "go1.19.8")
    make_go(installed, "go1.20.0")
    done = chosen(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{installed} is not Go 1.26" in done.stderr
