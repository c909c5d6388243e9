"""Metrics in a CSV file."""

from __future__ import annotations

import csv
import io
import os
from argparse import Namespace
from typing import Any

import yaml

from thunderhead.arguments import whole_number
from thunderhead.files.places import is_url, local
from thunderhead.files.schemes import place_of
from thunderhead.files.writable import Destination
from thunderhead.loggers.logger import plain_hyperparameters, rank_zero_only
from thunderhead.loggers.versions import VersionedLogger
from thunderhead.warning import warn


class CSVLogger(VersionedLogger):
    """Writes ``metrics.csv`` and ``hparams.yaml`` under ``<save_dir>/<name>/version_<n>``.

    Floats are written so that reading them gives the same bits.

    Args:
        save_dir: directory or URL of all experiments.
        name: name of this one; may be empty.
        version: a number or name; by default the next free number.
        prefix: put before every metric's name, with a dash.
        flush_logs_every_n_steps: records held back until they are written; at the end of an epoch all are.

    Raises:
        MisconfigurationException: an argument that cannot mean anything.
        TypeError: ``save_dir`` is no path.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__("CSVLogger", save_dir, name, version, prefix)
        self._flush_every: int = whole_number("CSVLogger: flush_logs_every_n_steps", flush_logs_every_n_steps, least=1)
        self._experiment: CSVWriter | None = None

    @property
    @rank_zero_only
    def experiment(self) -> CSVWriter:
        """What writes the files; None on other ranks."""
        if self._experiment is None:
            with self._destination().naming():
                self._experiment = CSVWriter(self.log_dir)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Hold a record back, and write when enough are."""
        if self._prefix:
            metrics = {self._prefixed(name): value for name, value in metrics.items()}
        writer = self.experiment
        writer.log_metrics(metrics, step)
        if len(writer.metrics) >= self._flush_every:
            self.save()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace | None = None) -> None:
        """Keep hyperparameters for ``hparams.yaml``."""
        self.experiment.log_hparams(plain_hyperparameters(params))

    @rank_zero_only
    def save(self) -> None:
        """Write everything held back."""
        writer = self.experiment
        with self._destination().naming():
            writer.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write everything held back; a run that failed before it began leaves nothing behind."""
        if self._experiment is not None:
            self.save()

    @rank_zero_only
    def _records(self) -> int | None:
        writer = self.experiment
        with self._destination().naming():
            found: int = writer.count()
        return found

    @rank_zero_only
    def _train_from(self, step: int | None, records: int | None) -> None:
        with self._destination().naming():
            self.experiment.train_from(step, records)

    def _destination(self) -> Destination:
        return self._files_below(self.root_dir)


class CSVWriter:
    """Appends records to a CSV file whose columns may grow.

    Objects at a URL cannot grow, so there the whole file is written again each time. A file that is there already is
    gone on with, unless training begins anew.

    Args:
        log_dir: directory or URL of the files.

    Attributes:
        metrics: records held back.
        hparams: hyperparameters.
    """

    NAME_METRICS_FILE = "metrics.csv"
    NAME_HPARAMS_FILE = "hparams.yaml"

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self.metrics: list[dict[str, Any]] = []
        self.hparams: dict[str, Any] = {}
        self._columns: list[str] = []
        self._count = 0
        self._written: list[dict[str, Any]] | None = [] if is_url(log_dir) else None
        self._written_hparams: str | None = None
        self._place = place_of(log_dir)
        if self._written is None:
            os.makedirs(local(log_dir), exist_ok=True)
        self.metrics_file_path = os.path.join(log_dir, self.NAME_METRICS_FILE)
        self._found = self._place.exists(self.metrics_file_path)

    def count(self) -> int:
        """How many records there are, those found and those held back included."""
        return self._count + (len(self._read()) if self._found else 0)

    def train_from(self, step: int | None, count: int | None = None) -> None:
        """Keep of the records that were found those from before ``step``, where training goes on; None for none.

        A run that was interrupted may have got further than where it is taken up again. Which records came later only
        ``count``, how many a checkpoint found here, tells exactly: those of one step may be written on both sides of
        it. Where a checkpoint of before does not tell, records without an epoch, which have an x of their own, stay.
        """
        if not self._found:
            return
        if step is None:
            warn(f"{self.metrics_file_path} holds metrics of an earlier run, which this one replaces")
            self._found = False
            self._place.remove(self.metrics_file_path)
            return
        records = self._take_up()
        if count is None:
            kept = [record for record in records if not _of_run(record) or int(record["step"]) < step]
        else:
            kept = records[:count]
        if len(kept) < len(records):
            self._count += len(kept) - len(records)
            self._rewrite(kept)

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Keep hyperparameters."""
        self.hparams.update(params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Hold one record back."""
        self._count += 1
        self.metrics.append({**metrics, "step": len(self.metrics) if step is None else step})

    def save(self) -> None:
        """Write hyperparameters, if there are any, and append the records; a new column rewrites the file."""
        if self.hparams:
            self._save_hparams()
        if not self.metrics:
            return
        if self._found:
            self._take_up()
        new = {name for record in self.metrics for name in record} - set(self._columns)
        had = bool(self._columns)
        self._columns = sorted([*self._columns, *new]) if new else self._columns
        if self._written is not None:
            self._rewrite([*self._written, *self.metrics])
        elif new:
            self._rewrite([*(self._read() if had else []), *self.metrics])
        else:
            with open(local(self.metrics_file_path), "a", newline="") as stream:
                csv.DictWriter(stream, self._columns).writerows(self.metrics)
        self.metrics = []

    def _save_hparams(self) -> None:
        text = yaml.safe_dump(self.hparams, sort_keys=True)
        if text != self._written_hparams:
            path = os.path.join(self.log_dir, self.NAME_HPARAMS_FILE)
            place_of(path).write(path, lambda stream: stream.write(text.encode()))
            self._written_hparams = text

    def _take_up(self) -> list[dict[str, Any]]:
        """The records that were found; from here on they are ours."""
        self._found = False
        records = self._read()
        self._count += len(records)
        self._columns = list(records[0]) if records else []
        if self._written is not None:
            self._written = records
        return records

    def _read(self) -> list[dict[str, Any]]:
        with self._place.read(self.metrics_file_path) as stream:
            text = stream.read().decode()
        # What a crash cut short is no record.
        return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))

    def _rewrite(self, records: list[dict[str, Any]]) -> None:
        if self._written is not None:
            self._written = records
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(records)
        self._place.write(self.metrics_file_path, lambda stream: stream.write(text.getvalue().encode()))


def _of_run(record: dict[str, Any]) -> bool:
    """Whether its x is the run's: such a record has an epoch, whatever prefix that has."""
    return any(value for name, value in record.items() if name == "epoch" or name.endswith("-epoch"))
