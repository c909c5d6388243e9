"""Where results are, as the attempts of a run have noted it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from thunderhead_agent import results as noting
from thunderhead_cli.local import results as reading
from thunderhead_cli.local.results import Result, results_of
from thunderhead_cli.local.rundir import RunDir


def note(run: RunDir, pod: str, *files: Path | str, best: dict[str, Any] | None = None) -> None:
    scratch = run.pod(pod) / "run"
    scratch.mkdir(parents=True)
    found = [{"kind": "metrics file", "path": str(file)} for file in files]
    (scratch / reading.FILE).write_text(json.dumps({"files": found, "checkpoints": [best] if best else []}))


def test_both_sides_mean_the_same_file() -> None:
    assert noting.FILE == reading.FILE


def test_files_of_every_attempt_and_the_newest_best(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    first = {"path": "/r/old.ckpt", "monitor": "val_loss", "score": 0.5}
    note(run, "j-1-0", tmp_path / "a.csv", best=first)
    note(
        run, "j-2-0", tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "never-written.csv", "s3://bucket/metrics.csv"
    )
    assert results_of(run, ["j-1-0", "j-2-0", "j-3-0"]) == [
        Result("metrics file", str(tmp_path / "a.csv")),
        Result("metrics file", str(tmp_path / "b.csv")),
        Result("metrics file", "s3://bucket/metrics.csv"),
        Result("best .ckpt", "/r/old.ckpt", "val_loss=0.5"),
    ]


def test_without_a_monitor_nothing_is_called_the_best(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    note(run, "j-1-0", best={"path": "/r/e.ckpt", "monitor": None, "score": None})
    assert results_of(run, ["j-1-0"]) == [Result("newest .ckpt", "/r/e.ckpt")]


def test_a_note_cut_short_says_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    (run.pod("j-1-0") / "run").mkdir(parents=True)
    (run.pod("j-1-0") / "run" / reading.FILE).write_text('{"files": [')
    assert results_of(run, ["j-1-0"]) == []
