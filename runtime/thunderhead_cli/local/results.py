"""Where the results of a run are: what every attempt's rank 0 has noted of its files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thunderhead_cli.local.rundir import RunDir

FILE: Final = "results.json"  # in the pod's scratch, as the agent writes it
_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Result:
    """One file or directory, and what it is.

    Attributes:
        kind: as the user is told.
        path: absolute, or a URL.
        note: what else there is to say.
    """

    kind: str
    path: str
    note: str = ""


def results_of(run: RunDir, pods: Iterable[str]) -> list[Result]:
    """Files of the run, oldest first; the best checkpoints are those of the newest attempt that had any.

    Args:
        run: the run's directory.
        pods: names of the pods of node 0, in the order of attempts.
    """
    files: dict[str, Result] = {}
    best: list[Result] = []
    for pod in pods:
        noted = _read(run.pod(pod) / "run" / FILE)
        for file in noted.get("files", []):
            if "://" in file["path"] or Path(file["path"]).exists():
                files[file["path"]] = Result(file["kind"], file["path"])
        best = [_checkpoint(found) for found in noted.get("checkpoints", [])] or best
    shown = list(files.values())
    return [*shown[-_SHOWN:], *best]


def _checkpoint(found: dict[str, Any]) -> Result:
    if found["monitor"] is None:
        return Result("newest .ckpt", found["path"])
    score = "" if found["score"] is None else f"{found['monitor']}={found['score']:.4g}"
    return Result("best .ckpt", found["path"], score)


def _read(path: Path) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # killed before it was written, or not of our making
        return {}
    return noted
