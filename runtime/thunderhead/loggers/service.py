"""Loggers of services, which keep records elsewhere: prefix, files of checkpoints, one run over a job's attempts."""

from __future__ import annotations

import os
from abc import abstractmethod
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from thunderhead.arguments import one_of, text
from thunderhead.loggers.logger import Logger, plain_hyperparameters, rank_zero_only

COUNT: Final = "thunderhead.records"
SETTINGS: Final = "thunderhead.settings"
LogModel = Literal["all"] | bool


class Checkpoints(Protocol):
    """A ModelCheckpoint, as far as these loggers read it."""

    save_top_k: int
    best_k_models: dict[str, object]
    best_model_path: str
    best_model_score: object
    last_model_path: str
    current_score: object


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that a checkpoint callback has written.

    Attributes:
        path: where.
        score: what it was judged by, if by anything.
        aliases: ``latest``, and ``best`` for the best.
        modified: when it was written, in Unix seconds.
    """

    path: str
    score: float | None
    aliases: tuple[str, ...]
    modified: float


class ServiceLogger(Logger):
    """What they share.

    All attempts of a job write one run. A run that goes on from a checkpoint repeats what the lost one did after it,
    record by record and with the same bits, and a service takes nothing back: so as many records as it has more than
    the checkpoint knows of are left out. Where a job's settings were changed they differ, and are sent.

    Args:
        kind: what the user calls it, for messages about arguments.
        prefix: put before every metric's name, with a dash.
        log_model: whether checkpoint files are sent: True at the end, ``"all"`` as they are written.
    """

    def __init__(self, kind: str, prefix: str, log_model: LogModel) -> None:
        self._prefix: str = text(f"{kind}: prefix", prefix, optional=True) or ""
        self._log_model: LogModel = one_of(f"{kind}: log_model", log_model, (True, False, "all"))
        self._job: str | None = None
        self._settings: str | None = None
        self._sent = 0
        self._left_out = 0
        self._callbacks: list[Checkpoints] = []
        self._files_sent: dict[str, float] = {}

    # --- what each service does ----------------------------------------------------------------------------------

    @abstractmethod
    def _send(self, metrics: Mapping[str, float], step: int | None, count: int) -> None:
        """Send one record, and with it that there are ``count`` now."""

    @abstractmethod
    def _send_parameters(self, params: dict[str, object]) -> None:
        """Send hyperparameters."""

    @abstractmethod
    def _send_file(self, file: Saved, callback: Checkpoints) -> None:
        """Send a checkpoint."""

    @abstractmethod
    def _found(self) -> tuple[int, str | None]:
        """How many records the run has that were sent before, and under which settings."""

    @abstractmethod
    def _end(self, status: str) -> None:
        """The run has ended: success, failed or aborted."""

    # --- what the Trainer calls ----------------------------------------------------------------------------------

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send a record, unless a lost attempt has sent it before."""
        self._sent += 1
        if self._left_out:
            self._left_out -= 1
            return
        named = {f"{self._prefix}-{name}" if self._prefix else name: value for name, value in metrics.items()}
        self._send(named, step, self._sent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, object] | Namespace | None = None) -> None:
        """Send hyperparameters; what is no plain value goes as its text."""
        self._send_parameters(plain_hyperparameters(params))

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Checkpoints) -> None:
        """Send what it has written, or note it for the end."""
        if self._log_model == "all" or (self._log_model is True and checkpoint_callback.save_top_k == -1):
            self._send_files(checkpoint_callback)
        elif self._log_model is True and checkpoint_callback not in self._callbacks:
            self._callbacks.append(checkpoint_callback)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """The run has ended: success, failed or aborted."""
        if status == "success":
            for callback in self._callbacks:
                self._send_files(callback)
        self._end(status)

    def _belongs_to(self, job: str, settings: str) -> None:
        """It is logger of this job, all attempts of which write one run; ``settings`` tell its specs apart."""
        self._job, self._settings = job, settings

    @rank_zero_only
    def _records(self) -> int | None:
        return self._sent

    @rank_zero_only
    def _train_from(self, step: int | None, records: int | None) -> None:
        there, settings = self._found()
        self._sent = there if step is None or records is None else records
        same = self._job is not None and settings == self._settings
        self._left_out = max(0, there - self._sent) if same else 0

    def _send_files(self, callback: Checkpoints) -> None:
        for file in new_files(callback, self._files_sent):
            self._send_file(file, callback)
            self._files_sent[file.path] = file.modified


def new_files(callback: Checkpoints, before: Mapping[str, float]) -> list[Saved]:
    """What a callback has written and ``before`` does not know in this version, the oldest first."""
    scores = {path: _number(score) for path, score in callback.best_k_models.items()}
    if callback.best_model_path:
        scores.setdefault(callback.best_model_path, _number(callback.best_model_score))
    if callback.last_model_path:
        scores.setdefault(callback.last_model_path, _number(callback.current_score))
    found = [
        Saved(path, score, ("latest", "best") if path == callback.best_model_path else ("latest",), modified)
        for path, score, modified in _with_times(scores)
        if before.get(path) != modified
    ]
    return sorted(found, key=lambda file: file.modified)


def _with_times(scores: Mapping[str, float | None]) -> Iterator[tuple[str, float | None, float]]:
    for path, score in scores.items():
        if os.path.isfile(path):
            yield path, score, os.path.getmtime(path)


def _number(score: object) -> float | None:
    return None if score is None else float(score)  # type: ignore[arg-type]  # a tensor, mostly
