"""What rank 0 logs, in a file of its pod: one line of JSON for each record that is sent to the loggers.

``thunderhead.results.curves`` reads it. No run ends for it: where the file cannot be written or has become too large,
that is said once, and the curves end there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from thunderhead_api.messages import spelled

FILE: Final = "metrics.jsonl"
"""In RUN_DIR."""
MAX_BYTES: Final = 64 * 1024 * 1024


class CurveFile:
    """Implements :class:`thunderhead.job.link.CurveRecorder`.

    Args:
        path: of the file, which is appended to.
        max_bytes: at most so many.
        clock: Unix time.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.time) -> None:
        self._path, self._max_bytes, self._left, self._clock = path, max_bytes, max_bytes, clock
        self._file: BinaryIO | None = None

    def begin(self, step: int) -> None:
        """Training goes on at this x."""
        self._write({"begin": step})

    def add(self, values: Mapping[str, float], step: int, epoch: int | None) -> None:
        """One record."""
        told = {name: spelled(value) for name, value in values.items() if isinstance(value, (int, float))}
        self._write({"step": step, "epoch": epoch, "values": told, "at": round(self._clock(), 3)})

    def close(self) -> None:
        """Nothing more is to come."""
        self._left = 0
        if self._file is not None:
            self._file.close()

    def _write(self, record: Mapping[str, object]) -> None:
        if self._left <= 0:
            return
        line = json.dumps(record).encode() + b"\n"
        if len(line) > self._left:
            self._give_up(f"would have more than its {self._max_bytes} bytes")
            return
        try:
            if self._file is None:
                # Unbuffered: a process that is killed has nothing left to write.
                self._file = self._path.open("ab", buffering=0)
            self._file.write(line)
            self._left -= len(line)
        except OSError as error:
            self._give_up(f"cannot be written: {error.strerror or error}")

    def _give_up(self, why: str) -> None:
        self._left = 0
        print(f"{self._path}: {why}; curves end here, the loggers get all", file=sys.stderr)
