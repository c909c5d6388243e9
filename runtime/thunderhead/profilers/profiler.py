"""What profilers share, to derive from: actions begin and end, and a report is made of them."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from torch import nn

from thunderhead import arguments as args
from thunderhead.files.schemes import place_of
from thunderhead.warning import say

_NOT_IN_NAMES: Final = re.compile(r"[\\/:*?\"<>|\s]+")


class Profiler(ABC):
    """The base of all profilers.

    The Trainer calls ``setup`` as a run begins, ``start`` and ``stop`` around each action, and ``describe`` when the
    run has ended. Outside of a Trainer, ``profile`` and ``describe`` do it all.

    Args:
        dirpath: directory or URL for the report; the log directory of the run by default.
        filename: name of the report, without ``.txt``; None: it is printed.
    """

    def __init__(self, dirpath: str | os.PathLike[str] | None = None, filename: str | None = None) -> None:
        kind = type(self).__name__
        self.dirpath: str | None = args.directory(f"{kind}: dirpath", dirpath) if dirpath is not None else None
        self.filename: str | None = args.text(f"{kind}: filename", filename, optional=True)
        self._stage: str | None = None
        self._local_rank: int | None = None
        self._lightning_module: nn.Module | None = None

    @abstractmethod
    def start(self, action_name: str) -> None:
        """An action begins."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """It has ended."""

    def summary(self) -> str:
        """The report."""
        return ""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """What is done in here is one action of that name."""
        try:
            self.start(action_name)
            yield action_name
        finally:
            self.stop(action_name)

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """A run begins.

        Args:
            stage: fit, validate, test or predict.
            local_rank: of this process, where there are several.
            log_dir: where a report goes that has a name but no directory.
        """
        self._stage, self._local_rank = str(stage), local_rank
        self.dirpath = self.dirpath or log_dir

    def teardown(self, stage: str | None) -> None:  # noqa: B027 - optional for implementers
        """The run has ended, and was reported."""

    def describe(self) -> None:
        """Write the report into its file, or print it, and close what was open; what is counted adds up over runs."""
        report = self.summary()
        if report and self.filename and self.dirpath:
            _append(os.path.join(self.dirpath, self._prepare_filename()), report)
        elif report:
            self._rank_zero_info(report)
        self.teardown(stage=self._stage)

    @property
    def local_rank(self) -> int:
        """Of this process; 0 where there is no other."""
        return self._local_rank or 0

    def _rank_zero_info(self, message: str) -> None:
        if not self._local_rank:
            say(message)

    def _prepare_filename(self, action_name: str | None = None, extension: str = ".txt") -> str:
        parts = (self._stage, self.filename, self._local_rank, action_name)
        name = "-".join(str(part) for part in parts if part not in (None, ""))
        return (_NOT_IN_NAMES.sub("_", name).strip() or "profile") + extension

    def _stats_to_str(self, stats: Mapping[str, str]) -> str:
        of_rank = "" if self._local_rank is None else f" rank: {self._local_rank}"
        lines = [f"{self._title()}"]
        for action, text in stats.items():
            lines += [f"Profile stats for: {action}{of_rank}", text]
        return "\n".join(lines)

    def _title(self) -> str:
        return f"{'' if self._stage is None else f'{self._stage.upper()} '}Profiler Report"


class PassThroughProfiler(Profiler):
    """Measures nothing: what ``trainer.profiler`` is where no other was asked for."""

    def start(self, action_name: str) -> None:
        """Nothing."""

    def stop(self, action_name: str) -> None:
        """Nothing."""


def _append(path: str, text: str) -> None:
    """A fit and then a test of one Trainer, say, are two reports."""
    place = place_of(path)
    before = b""
    if place.exists(path):
        with place.read(path) as stream:
            before = stream.read()
    place.write(path, lambda stream: stream.write(before + text.encode() + b"\n"))
