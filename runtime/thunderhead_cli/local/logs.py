"""Workers' output, as it is written, for the user to read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

LOG_NAME = "agent.log"
_CHUNK_BYTES = 256 * 1024
"""At most so much of one log per look: a rank that floods its log must not starve the rest of the loop."""


LAST_LINES = 80
LAST_BYTES = 2048
"""What a kubelet takes of a log in the place of a termination message (``FallbackToLogsOnError``)."""


def last_lines(path: Path) -> str:
    """The end of a log, as a kubelet would tell it; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LAST_BYTES))
            tail = file.read(LAST_BYTES)
    except FileNotFoundError:
        return ""
    return "".join(tail.decode(errors="ignore").splitlines(keepends=True)[-LAST_LINES:])


class Logs(StrEnum):
    """Whose lines are shown."""

    RANK0 = "rank0"
    ALL = "all"
    NONE = "none"


@dataclass(slots=True)
class LogFollower:
    """Reads logs from where it stopped; an agent prefixes each line of a worker with ``[rank N]``.

    Attributes:
        shown: whose lines.
    """

    shown: Logs
    _read: dict[Path, int] = field(default_factory=dict)

    def new_lines(self, logs: list[Path]) -> list[str]:
        """Whole lines written since the last call, file by file."""
        if self.shown is Logs.NONE:
            return []
        return [line for path in logs for line in self._lines(path) if self._is_shown(line)]

    def is_shown(self, rank: int) -> bool:
        """Whether the user reads what this rank writes."""
        return self.shown is Logs.ALL or (self.shown is Logs.RANK0 and rank == 0)

    def _lines(self, path: Path) -> list[str]:
        start = self._read.get(path, 0)
        try:
            with path.open("rb") as file:
                file.seek(start)
                chunk = file.read(_CHUNK_BYTES)
        except FileNotFoundError:  # not begun
            return []
        whole = chunk.rfind(b"\n") + 1
        if not whole and len(chunk) == _CHUNK_BYTES:
            whole = len(chunk)  # no line is that long: pass it on in pieces
        self._read[path] = start + whole
        return chunk[:whole].decode(errors="replace").splitlines()

    def _is_shown(self, line: str) -> bool:
        return self.shown is Logs.ALL or line.startswith("[rank 0] ")
