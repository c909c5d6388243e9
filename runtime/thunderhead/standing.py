"""The line that a bar stands on, with the cursor at its end: whoever has something to say begins below it.

A process has one terminal, so what stands there is a fact of the process.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TextIO

_stands_on: list[TextIO] = []


def stand(stream: TextIO) -> None:
    """A bar has been drawn on ``stream``, and its line is not over."""
    _stands_on[:] = [stream]


def forget() -> None:
    """Nothing stands any more: its line was emptied."""
    _stands_on.clear()


def step_off() -> None:
    """Begin a new line under what stands, if anything does; it is drawn again later, on a line of its own."""
    while _stands_on:
        # Closed meanwhile: nobody is disturbed. Or another thread, which had something to say too, was first.
        with suppress(OSError, ValueError, IndexError):
            stream = _stands_on.pop()
            stream.write("\n")
            stream.flush()


def logger_of(name: str) -> logging.Logger:
    """The logger of a module, what it says beginning below what stands.

    A filter of its own, since those of ``thunderhead`` do not see what is only passed on to it.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_below)
    return logger


def _below(record: logging.LogRecord) -> bool:
    step_off()
    return True
