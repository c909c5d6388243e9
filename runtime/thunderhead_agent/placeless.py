"""How a warning reads that has no line of the user's to point at: as its text alone."""

from __future__ import annotations

import warnings
from typing import Final

_FORK_SERVERS: Final = "<string>"  # its one-line program: the outermost frame of every worker
_placed = warnings.formatwarning


def formatted(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """As Python formats it, without the place where that is the fork server's program."""
    if filename == _FORK_SERVERS:
        return f"{category.__name__}: {message}\n"
    return _placed(message, category, filename, lineno, line)
