"""Where a run's results are, noted for whoever started it: files of loggers, and checkpoints of ModelCheckpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from thunderhead import Trainer

FILE: Final = "results.json"
"""In RUN_DIR."""


@contextmanager
def noted(trainer: Trainer, directory: Path) -> Iterator[None]:
    """Rank 0 notes where results will be as the command begins, and once more as it ends, however it does."""
    if not trainer.is_global_zero:
        yield
        return
    _note(trainer, directory)
    try:
        yield
    finally:
        _note(trainer, directory)


def _note(trainer: Trainer, directory: Path) -> None:
    draft = directory / f"{FILE}.draft"
    with suppress(Exception):  # it helps people, and asks loggers of the user's own: no run ends for it
        draft.write_text(json.dumps({"files": _files(trainer), "checkpoints": _checkpoints(trainer)}))
        os.replace(draft, directory / FILE)


def _files(trainer: Trainer) -> list[dict[str, str]]:
    from thunderhead.loggers import CSVLogger, TensorBoardLogger

    found = []
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            found.append({"kind": "metrics file", "path": _absolute(os.path.join(logger.log_dir, "metrics.csv"))})
        elif isinstance(logger, TensorBoardLogger):
            found.append({"kind": "TensorBoard", "path": _absolute(logger.log_dir)})
    return found


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _checkpoints(trainer: Trainer) -> list[dict[str, Any]]:
    from thunderhead.callbacks import ModelCheckpoint

    return [
        {
            "path": _absolute(callback.best_model_path),
            "monitor": callback.monitor,
            "score": None if callback.best_model_score is None else float(callback.best_model_score),
        }
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path
    ]
