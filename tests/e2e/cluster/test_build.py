"""Programs built from Go modules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from e2e.cluster import build
from e2e.cluster.build import GoProgram


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in a checkout that git refuses to look at, as it does when another user owns it."""
    home = tmp_path / "checkout"
    (home / ".git").mkdir(parents=True)
    (home / ".git" / "config").write_text("unreadable\n")
    (home / "go.mod").write_text("module example.com/hello\n\ngo 1.26.0\n")
    (home / "main.go").write_text('package main\n\nfunc main() { println("hello") }\n')
    monkeypatch.setenv("THUNDERHEAD_CACHE", str(tmp_path / "cache"))
    program = GoProgram(name="hello", module=home, package=".", names=("hello", "hi"))
    monkeypatch.setattr(build, "programs", lambda: {"hello": program})
    return home


def test_builds_under_every_name_where_git_cannot_read(checkout: Path) -> None:
    where = build.build("hello", lambda line: None)
    for name in ("hello", "hi"):
        assert subprocess.run([where / name], capture_output=True, text=True, check=True).stderr == "hello\n"


def test_builds_again_only_what_has_changed(checkout: Path) -> None:
    said: list[str] = []
    first = build.build("hello", said.append)
    assert build.build("hello", said.append) == first
    assert len(said) == 2, "one build, which said when it began and when it ended"
    (checkout / "main.go").write_text('package main\n\nfunc main() { println("changed") }\n')
    changed = build.build("hello", said.append)
    assert changed != first
    assert subprocess.run([changed / "hello"], capture_output=True, text=True, check=True).stderr == "changed\n"
