"""Which run a command works on, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thunderhead_cli.local.rundir import RunDirError, choose_run, exclusive, is_finished


def job(**conditions: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": type_, "status": status} for type_, status in conditions.items()]}}


@pytest.mark.parametrize(
    ("saved", "fresh", "number"),
    [
        (None, False, 1),
        (job(Running="True"), False, 1),
        (job(Suspended="True"), False, 1),
        (job(Running="True"), True, 2),
        (job(Complete="True"), False, 2),
        (job(Failed="True"), False, 2),
        (job(Complete="False", Failed="False"), False, 1),
    ],
)
def test_unfinished_runs_are_continued(tmp_path: Path, saved: dict[str, Any] | None, fresh: bool, number: int) -> None:
    if saved is not None:
        choose_run(tmp_path, "digits", fresh=False).save(saved)
    run = choose_run(tmp_path, "digits", fresh=fresh)
    assert run.path == tmp_path / "digits" / str(number)


def test_numbers_are_numbers_not_words(tmp_path: Path) -> None:
    for number in ("9", "10", "notes"):
        (tmp_path / "digits" / number).mkdir(parents=True)
    assert choose_run(tmp_path, "digits", fresh=True).path.name == "11"


def test_saved_job_comes_back(tmp_path: Path) -> None:
    run = choose_run(tmp_path, "digits", fresh=False)
    assert run.load() is None
    run.save(job(Complete="True"))
    assert is_finished(run.load())
    assert [path.name for path in run.path.iterdir()] == ["job.json"]


def test_broken_file_is_named(tmp_path: Path) -> None:
    run = choose_run(tmp_path, "digits", fresh=False)
    run.save({})
    run.job_file.write_text("{")
    with pytest.raises(RunDirError, match=r"job\.json: cannot be read.*--fresh"):
        run.load()


def test_two_commands_do_not_share_a_run(tmp_path: Path) -> None:
    with exclusive(tmp_path, "digits"):
        with (
            pytest.raises(RunDirError, match="another 'thunderhead run' of 'digits'"),
            exclusive(tmp_path, "digits"),
        ):
            pytest.fail("both hold the lock")
        with exclusive(tmp_path, "other"):
            pass
    with exclusive(tmp_path, "digits"):
        pass
