"""What the run keeps of the user's files, and what is said when they are edited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thunderhead_cli.jobfile import JobFile, JobFileError
from thunderhead_cli.local.code import CodeWatch, in_the_users_files, keep_code, kept_code
from thunderhead_cli.local.local_job import localise, spec_changes
from thunderhead_cli.local.rundir import RunDir

CODE = {"code": {"configMap": {"name": "code"}}}


def file_of(path: Path, **spec: Any) -> JobFile:
    base = {"module": {"class_path": "m.M"}, "checkpoint": {"uri": "s3://bucket/x"}}
    head = {"apiVersion": "thunderhead.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": "one"}}
    return JobFile(path / "job.yaml", {**head, "spec": base | CODE | spec}, {})


def test_the_next_command_takes_the_files_of_now_and_says_so(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs/one/1")
    (tmp_path / "m.py").write_text("first")
    (tmp_path / "n.py").write_text("n")
    first = localise(file_of(tmp_path), run, checkpoint_uri=None)
    assert not [note for note in first.notes if note.startswith("changed")]
    keep_code(run, first.code)
    assert not [n for n in localise(file_of(tmp_path), run, checkpoint_uri=None).notes if n.startswith("changed")]
    (tmp_path / "m.py").write_text("second")
    second = localise(file_of(tmp_path), run, checkpoint_uri=None)
    assert second.config_maps["code"]["m.py"] == "second"
    (said,) = [note for note in second.notes if note.startswith("changed")]
    assert "(m.py)" in said


def test_files_that_are_gone_are_taken_from_the_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs/one/1")
    keep_code(run, {"m.py": "kept"})
    local = localise(file_of(tmp_path), run, checkpoint_uri=None)
    assert local.config_maps["code"] == {"m.py": "kept"}
    assert any("any more" in note for note in local.notes)


def test_only_files_are_files(tmp_path: Path) -> None:
    """Editors leave links to nothing beside what they have open."""
    (tmp_path / "m.py").write_text("m")
    (tmp_path / "package.py").mkdir()
    (tmp_path / ".#m.py").symlink_to("me@here.1")
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    local = localise(file_of(tmp_path), RunDir(tmp_path / "runs/one/1"), checkpoint_uri=None)
    assert local.config_maps["code"] == {"m.py": "m"}


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_bytes("café".encode("latin-1"))
    with pytest.raises(JobFileError, match=r"m\.py: is not UTF-8 text \(byte 3\); save it as such"):
        localise(file_of(tmp_path), RunDir(tmp_path / "runs/one/1"), checkpoint_uri=None)


def test_what_was_kept_before_goes(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs/one/1")
    keep_code(run, {"a.py": "1", "b.py": "2"})
    keep_code(run, {"a.py": "3"})
    assert kept_code(run) == {"a.py": "3"}


@pytest.mark.parametrize(
    ("saved", "now", "lines"),
    [
        ({}, {}, []),
        ({"suspend": True}, {}, []),
        ({}, {"nodes": 1}, []),
        ({"seed": 1}, {"seed": 2, "restarts": {"maxRestarts": 9}}, ["restarts: (not set)", "seed: 1 → 2"]),
        ({"noLongerKnown": 1}, {}, ["noLongerKnown: 1 → (not set)"]),
    ],
)
def test_what_of_the_spec_was_changed(
    tmp_path: Path, saved: dict[str, Any], now: dict[str, Any], lines: list[str]
) -> None:
    before, after = (dict(file_of(tmp_path, **spec).job) for spec in (saved, now))
    found = spec_changes(before, after)
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


def test_an_edit_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    time = [0.0]
    (tmp_path / "m.py").write_text("first")
    watch = CodeWatch(tmp_path, {"m.py": "first"}, lambda: time[0])

    def look() -> str | None:
        time[0] += 1.5
        return watch.news()

    assert look() is None
    (tmp_path / "m.py").write_text("the second")
    said = look()
    assert said is not None
    assert "m.py edited" in said
    assert "Ctrl-C" in said
    assert look() is None
    (tmp_path / "more.py").write_text("")
    assert "m.py, more.py" in (look() or "")
    (tmp_path / "more.py").unlink()
    (tmp_path / "m.py").write_text("first")
    assert "again" in (look() or "")
    assert CodeWatch(None, {}, lambda: 0.0).news() is None


def test_a_traceback_names_the_file_to_edit(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs/one/1")
    named = in_the_users_files(run, Path("/home/me/work"), {"m.py": "", "n.py": ""})
    code = f"{run.path}/pods/one-2-0/root/etc/thunderhead/code"
    assert named(f'[rank 0]   File "{code}/m.py", line 3, in f') == '[rank 0]   File "/home/me/work/m.py", line 3, in f'
    assert named(f"{code}/m.py:3: Warning; {code}/n.py:4") == "/home/me/work/m.py:3: Warning; /home/me/work/n.py:4"
    for other in (f"{code}/m.pyc", f"{code}/other.py", f"{run.path}/pods/one-2-0/agent.log", "/elsewhere/m.py"):
        assert named(other) == other


def test_code_that_stands_in_the_job_file_has_no_other_file(tmp_path: Path) -> None:
    text = f"{tmp_path}/pods/one-1-0/root/etc/thunderhead/code/m.py"
    assert in_the_users_files(RunDir(tmp_path), None, {"m.py": ""})(text) == text
